"""Where the videos of a batch go: a folder that the workers see, one that they do not see, or an fsspec URL.

A worker makes a video in ``workshop`` and hands it over with ``deliver``; then its result is written, and ``place``
gives it its name. So a video that is complete is never made again: a later run finds it where it was delivered.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, Protocol

from kptalk.batch.results import HEAD, Result, ResultFile, parse_results
from kptalk.errors import KptalkError, OptionError, OutputError
from kptalk.files import explain, make_folder, open_partial, put_in_place, remove_partial, write_bytes, writing
from kptalk.scratch import scratch_folder

RESULTS, UNFINISHED = "results.csv", ".unfinished"
DELIVERED = re.compile(r"[0-9a-f]{64}\.(mp4|safetensors)")
URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
PART_ROWS, PART_SECONDS = 1000, 30.0  # of results, after which they are written to a URL


class Results(Protocol):
    """Where results are written and read."""

    def read(self) -> Iterator[Result]: ...
    def add(self, result: Result) -> None: ...
    def replace(self, results: Iterable[Result]) -> None: ...


class Storage(Protocol):
    """Of one batch; it is sent to the workers, which see it if it is ``shared``, or send their files otherwise."""

    shared: bool

    def open(self) -> Results:
        """Take it for this run alone, where it can be taken; raises OutputError."""

    def close(self, finished: bool) -> None:
        """Give it free; ``finished`` says that nothing is left to be done."""

    def workshop(self) -> Any:
        """A context with the folder in which a worker makes files."""

    def delivered(self, name: str) -> Path | None:
        """A file that was delivered under a name in an earlier run, where that is known."""

    def deliver(self, path: Path, name: str, output: str) -> bytes | None:
        """Hand over a file of the workshop, in a worker; what is to be sent to ``place``."""

    def at_hand(self, name: str, content: bytes | None) -> Any:
        """A context with a delivered file, to be changed before ``place``, in the process that called ``open``."""

    def place(self, name: str, output: str, content: bytes | None) -> None:
        """Give a delivered file its name, in the process that called ``open``."""

    def size(self, output: str) -> int | None:
        """Bytes of an output; None where there is none."""


def storage_of(folder: str | os.PathLike[str], gathers: bool = False) -> Folder | Remote:
    """The storage of a folder's path or of a URL; ``gathers``: all files are at hand here before they are placed."""
    text = os.fspath(folder)
    return Remote(text.rstrip("/"), shared=not gathers) if URL.match(text) else Folder(Path(text).absolute())


class Folder:
    """A folder of this machine, or one that all machines of a cluster share.

    Attributes:
        shared: whether the workers see it; where they do not, they send their files.
    """

    _lock: FileIO
    _results: ResultFile

    def __init__(self, path: Path, shared: bool = True) -> None:
        self.path, self.shared = path, shared

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "shared": self.shared}

    def open(self) -> ResultFile:
        make_folder(self.path / UNFINISHED)
        with writing(self.path / RESULTS):
            self._lock = open_partial(self.path / RESULTS)
            for stray in (self.path / UNFINISHED).iterdir():  # of a run that was killed
                if not DELIVERED.fullmatch(stray.name):
                    stray.unlink() if stray.is_file() else shutil.rmtree(stray, ignore_errors=True)
        self._results = ResultFile(self.path / RESULTS)
        return self._results

    def close(self, finished: bool) -> None:
        self._results.close()
        if finished:
            shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
        remove_partial(self._lock)

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        if not self.shared:
            with scratch_folder() as folder:
                yield folder
            return
        with writing(self.path):
            making = TemporaryDirectory(dir=self.path / UNFINISHED, prefix="making-", ignore_cleanup_errors=True)
        with making as name:
            yield Path(name)

    def delivered(self, name: str) -> Path | None:
        path = self.path / UNFINISHED / name
        return path if path.is_file() else None

    def deliver(self, path: Path, name: str, output: str) -> bytes | None:
        if not self.shared:
            return path.read_bytes()
        with writing(self.path / output):
            put_in_place(path, self.path / UNFINISHED / name)
        return None

    @contextmanager
    def at_hand(self, name: str, content: bytes | None) -> Iterator[Path]:
        path = self.path / UNFINISHED / name
        if content is not None:
            write_bytes(path, content)
        yield path

    def place(self, name: str, output: str, content: bytes | None) -> None:
        target, source = self.path / output, self.path / UNFINISHED / name
        make_folder(target.parent)
        if content is not None:
            write_bytes(source, content)
        with writing(target):
            put_in_place(source, target)

    def size(self, output: str) -> int | None:
        with suppress(OSError):
            return (self.path / output).stat().st_size
        return None


class Remote:
    """A folder behind a URL, by the user's fsspec plug-in; files appear there when they are whole.

    Nothing there can be locked or added to: results are written in parts, which are put together at the end.

    Attributes:
        shared: whether the workers write there; otherwise they send their files.
    """

    _results: _RemoteResults

    def __init__(self, url: str, shared: bool = True) -> None:
        self.url, self.shared = url, shared

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "shared": self.shared}

    def _open(self) -> tuple[Any, str]:
        """The file system, and the folder's name in it; raises OptionError where there is no plug-in for it."""
        import fsspec

        try:
            fs, folder = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise OptionError(f"output is {self.url!r}: {explain(error)}") from error
        return fs, folder

    def open(self) -> Results:
        with _remote_errors(self.url):
            fs, folder = self._open()
            fs.makedirs(folder, exist_ok=True)
            self._results = _RemoteResults(fs, folder, self.url)
            return self._results

    def close(self, finished: bool) -> None:
        self._results.close()

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        with scratch_folder() as folder:
            yield folder

    def delivered(self, name: str) -> Path | None:
        return None

    def deliver(self, path: Path, name: str, output: str) -> bytes | None:
        if not self.shared:
            return path.read_bytes()
        with path.open("rb") as content:
            self._write(output, content)
        return None

    def _write(self, output: str, content: IO[bytes]) -> None:
        with _remote_errors(f"{self.url}/{output}"):
            fs, folder = self._open()
            _put(fs, f"{folder}/{output}", content)

    @contextmanager
    def at_hand(self, name: str, content: bytes | None) -> Iterator[Path]:
        with self.workshop() as folder:
            (folder / name).write_bytes(content or b"")
            yield folder / name

    def place(self, name: str, output: str, content: bytes | None) -> None:
        if content is not None:
            self._write(output, io.BytesIO(content))

    def size(self, output: str) -> int | None:
        fs, folder = self._open()
        with suppress(FileNotFoundError), _remote_errors(self.url):
            return int(fs.size(f"{folder}/{output}"))
        return None


class _RemoteResults:
    """``results.csv`` behind a URL, and parts of it beside it."""

    def __init__(self, fs: Any, folder: str, url: str) -> None:
        self._fs, self._whole, self._url = fs, f"{folder}/{RESULTS}", url
        self._lines: list[str] = []
        self._parts = sorted(fs.glob(f"{folder}/results-[0-9]*-[0-9]*.part.csv"))
        last = max((int(path.rpartition("/")[2].split("-")[1]) for path in self._parts), default=0)
        run = max(int(time.time()), last + 1)  # later runs' parts come later, whatever the clock says
        self._next = f"{folder}/results-{run:010}-{{:06}}.part.csv"
        self._written = time.monotonic()

    def read(self) -> Iterator[Result]:
        with _remote_errors(self._url):
            for path in [*([self._whole] if self._fs.exists(self._whole) else []), *self._parts]:
                with self._fs.open(path, "r", encoding="utf-8", errors="surrogateescape", newline="") as file:
                    yield from parse_results(file, path)

    def add(self, result: Result) -> None:
        self._lines.append(result.line())
        if len(self._lines) >= PART_ROWS or time.monotonic() - self._written > PART_SECONDS:
            self._write_part()

    def _write_part(self) -> None:
        path, content = self._next.format(len(self._parts)), "".join([HEAD, *self._lines])
        with _remote_errors(self._url):
            _put(self._fs, path, io.BytesIO(content.encode(errors="surrogateescape")))
        self._parts.append(path)
        self._lines, self._written = [], time.monotonic()

    def replace(self, results: Iterable[Result]) -> None:
        with TemporaryFile() as file, _remote_errors(self._url):
            file.write(HEAD.encode())
            file.writelines(result.line().encode(errors="surrogateescape") for result in results)
            file.seek(0)
            _put(self._fs, self._whole, file)
            if self._parts:
                self._fs.rm(self._parts)
        self._lines, self._parts = [], []

    def close(self) -> None:
        if self._lines:
            self._write_part()


def _put(fs: Any, path: str, content: IO[bytes]) -> None:
    """Write a file that appears when it is whole."""
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    with fs.transaction, fs.open(path, "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)


@contextmanager
def _remote_errors(name: str) -> Iterator[None]:
    """Turns what a plug-in raises, which may be anything, into an OutputError."""
    try:
        yield
    except (KptalkError, FileNotFoundError):
        raise
    except Exception as error:
        raise OutputError(f"cannot write {name}: {explain(error)}") from error
