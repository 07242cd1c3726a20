"""Where the bytes of an encoded video go."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from kptalk.errors import OutputError
from kptalk.files import VIDEO_SUFFIX, check_writable, partial_path
from kptalk.media import mp4


class Sink(Protocol):
    """Takes one video; ``VideoWriter`` encodes into the container that ``open`` returns, and closes it."""

    name: str  # what the video is called in messages

    @property
    def partial(self) -> Path | None:
        """Where the video so far can be found after an error, if anywhere."""

    def open(self, metadata: Mapping[str, str]) -> Any:
        """A PyAV container, empty; called before the first frame, once."""

    def finish(self) -> None:
        """The video is complete and the container closed."""

    def discard(self) -> None:
        """The container holds no frame and is closed."""


class FileSink:
    """An MP4 file that appears under its name when the video is complete.

    Meanwhile ``partial`` in the same folder holds a fragmented MP4 that plays up to about one second before the last
    frame, even if the process is killed.
    """

    def __init__(self, path: str | PathLike[str], overwrite: bool = False) -> None:
        """Check that the file can be written; none is made yet.

        Raises:
            OutputError: see ``check_writable``.
        """
        check_writable(path, VIDEO_SUFFIX, overwrite)
        self._path, self._overwrite = Path(path), overwrite
        self.name = str(path)
        self.partial = partial_path(path)

    def open(self, metadata: Mapping[str, str]) -> Any:
        self._metadata = metadata
        return mp4.create(self.partial, mp4.FRAGMENTED, metadata)

    def finish(self) -> None:
        """Copy the fragments into a plain MP4, which all players can seek in, and give it the final name."""
        if not self._overwrite and self._path.exists():
            raise OutputError(f"{self._path} has appeared meanwhile; the new video is in {self.partial}")
        plain = self.partial.with_suffix(f".plain{VIDEO_SUFFIX}")
        try:
            mp4.remux(self.partial, mp4.create(plain, mp4.PLAIN, self._metadata))
            plain.replace(self._path)
        finally:
            plain.unlink(missing_ok=True)
        self.partial.unlink()

    def discard(self) -> None:
        self.partial.unlink(missing_ok=True)
