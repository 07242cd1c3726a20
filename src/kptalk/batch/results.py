"""``results.csv``: what became of the rows, a line each, added as they are done."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from kptalk.errors import OutputError
from kptalk.files import atomic_write, writing

DONE, FAILED = "done", "failed"
LONGEST_LINE = 1 << 20  # bytes


@dataclass(frozen=True)
class Result:
    """What became of a row.

    Attributes:
        row: its number, from 1.
        output: where the video is, below the batch's folder; empty where the row does not say.
        status: ``done`` or ``failed``.
        seconds: of work.
        frames: of the video.
        bytes, sha256: of its file.
        digest: of what it was made of: the inputs' content, the options and the model.
        error: why it failed.
        warning: what there was to say of it.
    """

    row: int
    output: str
    status: str
    seconds: float = 0.0
    frames: int = 0
    bytes: int = 0
    sha256: str = ""
    digest: str = ""
    error: str = ""
    warning: str = ""

    @property
    def key(self) -> str:
        """By which a later run finds it."""
        return self.output or f"row {self.row}"

    def line(self) -> str:
        """As CSV."""
        values = [f"{value:.3f}" if isinstance(value, float) else value for value in astuple(self)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(" ".join(str(value).split()) for value in values)
        return text.getvalue()


NAMES = [each.name for each in fields(Result)]
HEAD = ",".join(NAMES) + "\n"


def parse_results(lines: Iterable[str], name: str) -> Iterator[Result]:
    """The results of a file's lines; one may come more than once, and the last one counts.

    Raises:
        OutputError: it is something else.
    """
    head = None
    for line in lines:
        if head is None or line == HEAD:
            head = line
            if head != HEAD:
                break
            continue
        try:
            cells = next(csv.reader([line]))
            row, output, status, seconds, frames, size, *rest = cells
            yield Result(int(row), output, status, float(seconds), int(frames), int(size), *rest)
        except (ValueError, TypeError, StopIteration) as error:
            raise OutputError(f"{name} has a line that is no result: {line.strip()!r}; move it away") from error
    if head not in (None, HEAD):
        raise OutputError(f"{name} is not of a batch: its first line is not {HEAD.strip()}; move it away")


class ResultFile:
    """``results.csv`` of a folder on this machine; a line is written whole, and stays when the process is killed."""

    def __init__(self, path: Path) -> None:
        """Open it; it is made, with its heading, where it is absent.

        Raises:
            OutputError: it cannot be written, or is something else.
        """
        self._path = path
        with writing(path), ExitStack() as unless_ready:
            self._file: BinaryIO = unless_ready.enter_context(path.open("ab", buffering=0))
            if path.stat().st_size:
                _cut_to_lines(path)
            else:
                self._file.write(HEAD.encode())
            unless_ready.pop_all()

    def read(self) -> Iterator[Result]:
        """What it holds; see ``parse_results``."""
        with self._path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield from parse_results(file, str(self._path))

    def add(self, result: Result) -> None:
        """Add a line; raises OutputError where it cannot be written."""
        with writing(self._path):
            self._file.write(result.line().encode(errors="surrogateescape"))

    def replace(self, results: Iterable[Result]) -> None:
        """Put these into the place of what it holds, all or none; raises OutputError where it cannot be written."""
        with atomic_write(self._path) as temporary, temporary.open("wb") as file:
            file.write(HEAD.encode())
            file.writelines(result.line().encode(errors="surrogateescape") for result in results)

    def close(self) -> None:
        """Close it."""
        self._file.close()


def _cut_to_lines(path: Path) -> None:
    """Remove what is after the last end of a line: the machine went down while it was written."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LONGEST_LINE))
        tail = file.read()
        if b"\n" in tail:
            file.truncate(size - len(tail) + tail.rindex(b"\n") + 1)
