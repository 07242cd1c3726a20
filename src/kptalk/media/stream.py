"""A video that is written into an open file, pipe or socket while it is encoded."""

import io
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from kptalk.errors import OutputError
from kptalk.media.sink import FRAGMENT, FRAGMENTED, LOW_DELAY, BytesWriter, FileSink, Sink, create_mp4


class StreamSink:
    """A fragmented MP4, written front to back: the file is never asked to seek.

    There is a fragment a second. With ``low_delay`` there is one every 0.16 s, encoded so that the first one leaves
    after seven frames, for a fifth more bytes: for viewers who watch while the video is made.

    Whatever has been written stays there after an error. The file is left open.
    """

    partial = None

    def __init__(self, file: BytesWriter, low_delay: bool = False, fragment: int = FRAGMENT) -> None:
        """Check that the file takes bytes; none are written yet.

        Args:
            file: where the bytes go.
            low_delay: whether it is watched while it is made.
            fragment: microseconds in a fragment of such a video.

        Raises:
            OutputError: it is closed, opened for reading or as text, or no file at all.
        """
        name = getattr(file, "name", None)
        self.name = name if isinstance(name, str) else "the video"
        self._file, self.low_delay, self._fragment = file, low_delay, fragment
        if isinstance(file, io.TextIOBase) or not callable(getattr(file, "write", None)):
            kind = type(file).__name__
            raise OutputError(f"cannot write a video to a {kind}: give a path, or a file opened in binary mode")
        if getattr(file, "closed", False) is True:
            raise OutputError(f"cannot write {self.name}: the file is closed")
        if isinstance(file, io.IOBase) and not file.writable():
            raise OutputError(f"cannot write {self.name}: the file is open for reading only")

    def open(self, metadata: Mapping[str, str]) -> Any:
        flags = LOW_DELAY if self.low_delay else FRAGMENTED
        return create_mp4(_WholeWrites(self._file, self.name), flags, metadata, self._fragment)

    def finish(self, frames: int) -> None:
        if isinstance(self._file, io.IOBase):
            self._file.flush()

    def release(self) -> None:
        pass

    def discard(self) -> None:
        pass


def sink_for(
    target: str | PathLike[str] | BytesWriter, overwrite: bool, sign: Callable[[Path], None] | None
) -> tuple[Path | None, Sink]:
    """The path, where it is one, and what takes the video; raises OutputError where that cannot be, or be signed."""
    if isinstance(target, str | PathLike):
        return Path(target), FileSink(target, overwrite, sign)
    if sign is not None:
        raise OutputError("a video that is written into an open file cannot be signed: give a path")
    return None, StreamSink(target)


class _WholeWrites:
    """Has ``write`` and nothing else, so that FFmpeg never seeks; a raw file may take less than it was given."""

    def __init__(self, file: BytesWriter, name: str) -> None:
        self._file, self._name = file, name

    def write(self, data: bytes) -> int:
        rest = bytes(data)
        while rest:
            try:
                taken = self._file.write(rest)
            except ValueError as error:  # closed meanwhile
                raise OutputError(f"cannot write {self._name}: {error}") from error
            if taken is None and isinstance(self._file, io.RawIOBase):
                raise BlockingIOError("the file takes no more bytes now: give one that waits")
            rest = rest[taken:] if isinstance(self._file, io.RawIOBase) and isinstance(taken, int) else b""
        return len(data)
