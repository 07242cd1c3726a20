"""The frozen clip list: which real videos, of which content, up to which frame. It makes two runs comparable."""

import csv
import io
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from kptalk.errors import DatasetError
from kptalk.evaluate.result import Clip

HEADER = ["name", "sha256", "frames"]


def clip_list(clips: Iterable[Clip]) -> str:
    """Clips as CSV with the columns ``name, sha256, frames``."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # otherwise a \r would stand bare
    rows.writerow(HEADER)
    rows.writerows([clip.name, clip.sha256, clip.frames] for clip in clips)
    return text.getvalue()


def read_clip_list(path: str | PathLike[str]) -> tuple[Clip, ...]:
    """Read what ``clip_list`` gave, or what a spreadsheet made of it.

    Raises:
        DatasetError: the file cannot be read, or is no such list; the message names the line.
    """
    try:
        content = Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")
        reader = csv.reader(io.StringIO(content, newline=""), strict=True)
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, csv.Error) as error:
        raise DatasetError(f"cannot read clip list {path}: {getattr(error, 'strerror', None) or error}") from error
    if not rows or rows[0][1] != HEADER:
        raise DatasetError(f"{path} is no clip list: its first line must be {','.join(HEADER)}")
    clips: dict[str, Clip] = {}
    for line, cells in rows[1:]:
        problem = _problem(cells) or (f"{cells[0]!r} is listed twice" if cells[0] in clips else "")
        if problem:
            raise DatasetError(f"clip list {path}, line {line}: {problem}")
        clips[cells[0]] = Clip(cells[0], cells[1], int(cells[2]))
    if not clips:
        raise DatasetError(f"clip list {path} names no clip")
    return tuple(clips.values())


def _problem(cells: list[str]) -> str:
    if len(cells) != len(HEADER):
        return f"{len(cells)} values, expected {len(HEADER)}"
    name, digest, frames = cells
    if name in ("", "..") or Path(name).name != name or "\0" in name:
        return f"{name!r} is not the name of a file without a folder"
    if not re.fullmatch("[0-9a-f]{64}", digest):
        return f"{digest!r} is not a sha256 in lower-case hexadecimal"
    if not re.fullmatch("[1-9][0-9]{0,9}", frames):
        return f"{frames!r} is not a number of frames"
    return ""
