"""Where the bytes of an encoded video go."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from io import FileIO
from os import PathLike
from pathlib import Path
from typing import IO, Any, Protocol

import av

from kptalk.device import release_memory
from kptalk.errors import CredentialsError, OutputError
from kptalk.files import VIDEO_SUFFIX, check_writable, open_partial, partial_path, put_in_place, remove_partial

# What iTunes-style tags hold, which all players show; with any other key FFmpeg's own key list is written instead.
COMMON_TAGS = frozenset({"title", "artist", "album", "comment", "description", "copyright", "date", "genre"})
# One fragment a keyframe; the header waits for the first fragment, since it holds the sound's and pictures' offsets.
FRAGMENTED = "frag_keyframe+delay_moov+default_base_moof"
FRAGMENT = 160_000  # microseconds in a fragment of a video that is watched while it is made
LOW_DELAY = "delay_moov+default_base_moof"


class BytesWriter(Protocol):
    """What bytes can be written to: a file opened in binary mode, a pipe, a socket's file, an object of one's own."""

    def write(self, data: bytes, /) -> object: ...


class Sink(Protocol):
    """Takes one video; ``VideoWriter`` encodes into the container that ``open`` returns, and closes it."""

    name: str  # what the video is called in messages
    low_delay: bool  # whether it is watched while it is made

    @property
    def partial(self) -> Path | None:
        """Where the video so far can be found after an error, if anywhere."""

    def open(self, metadata: Mapping[str, str]) -> Any:
        """A PyAV container, empty; called before the first frame, once."""

    def finish(self, frames: int) -> None:
        """The video of so many frames is complete and the container closed."""

    def release(self) -> None:
        """The container holds a frame and is closed, after ``finish`` or an error; no more will be called."""

    def discard(self) -> None:
        """The container holds no frame, or what is no longer wanted, and is closed."""


class FileSink:
    """An MP4 file that appears under its name when the video is complete.

    Meanwhile ``partial`` in the same folder holds a fragmented MP4 that plays up to about one second before the last
    frame, even if the process is killed. It is locked, so that no other run writes there.
    """

    low_delay = False
    _file: FileIO

    def __init__(
        self, path: str | PathLike[str], overwrite: bool = False, sign: Callable[[Path], None] | None = None
    ) -> None:
        """Check that the file can be written; none is made yet.

        Args:
            path: of the video.
            overwrite: whether an existing file is replaced.
            sign: the last thing done to the finished file, in place, before it gets its name.

        Raises:
            OutputError: see ``check_writable``.
        """
        check_writable(path, VIDEO_SUFFIX, overwrite)
        self._path, self._overwrite, self._sign = Path(path), overwrite, sign
        self.name = str(path)
        self.partial = partial_path(path)

    def open(self, metadata: Mapping[str, str]) -> Any:
        """See ``Sink``; raises OutputError where another run is writing this file."""
        self._metadata = metadata
        self._file = open_partial(self._path)
        self.partial = Path(self._file.name)
        return create_mp4(self._file, FRAGMENTED, metadata)

    def finish(self, frames: int) -> None:
        """Copy the fragments into a plain MP4, which all players can seek in, and give it the final name.

        Its index takes 30 MB of memory an hour of video, for which drawing has freed more.
        """
        release_memory()
        if not self._overwrite and self._path.exists():
            raise OutputError(f"{self._path} has appeared meanwhile; the new video is in {self.partial}")
        plain = self.partial.with_suffix(f".plain{VIDEO_SUFFIX}")
        self._file.seek(0)
        try:
            if (copied := copy_plain(self._file, plain, self._metadata)) != frames:
                raise OutputError(f"{self.partial} holds {copied} of {frames} frames: something else wrote to it")
            if self._sign is not None:
                try:
                    self._sign(plain)
                except CredentialsError as error:
                    raise CredentialsError(f"{error}; the video is kept, unsigned, in {self.partial}") from error
            put_in_place(plain, self._path)
        finally:
            plain.unlink(missing_ok=True)
        remove_partial(self._file)

    def release(self) -> None:
        self._file.close()

    def discard(self) -> None:
        remove_partial(self._file)


def copy_plain(fragmented: IO[bytes], plain: Path, metadata: Mapping[str, str] | None = None) -> int:
    """Copy the packets of a fragmented MP4 into a plain one, with other tags or its own ``COMMON_TAGS``.

    Returns:
        the number of pictures.
    """
    pictures = 0
    with av.open(fragmented, "r") as source, ExitStack() as files:
        own = {name: text for name, text in source.metadata.items() if name in COMMON_TAGS}
        target = files.enter_context(create_mp4(plain, "faststart", own if metadata is None else metadata))
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:  # the empty packets at the end have none
                pictures += packet.stream.type == "video"
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return pictures


def create_mp4(file: Path | BytesWriter, flags: str, metadata: Mapping[str, str], fragment: int = FRAGMENT) -> Any:
    """A PyAV container to write to: ``FRAGMENTED``, ``LOW_DELAY``, or with FFmpeg's other ``movflags``."""
    flags += "" if COMMON_TAGS.issuperset(metadata) else "+use_metadata_tags"
    # Without "bitexact" the file would name the FFmpeg build; packets are flushed so that a killed run leaves them.
    options = {"movflags": flags, "fflags": "+bitexact", "flush_packets": "1"}
    if flags.startswith(LOW_DELAY):
        options["frag_duration"] = str(fragment)
    container = av.open(f"file:{file}" if isinstance(file, Path) else file, "w", format="mp4", options=options)
    container.metadata.update(metadata)
    return container
