"""Which videos are compared: folders of real and generated ones, the names of the methods, and the frozen clip list.

The list says which real videos, of which content, up to which frame: it makes two runs comparable.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from kptalk.errors import DatasetError, InputError
from kptalk.evaluate.result import Clip
from kptalk.files import sha256
from kptalk.media.clip import probe

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".mpeg", ".mpg", ".ogv", ".wmv")
HEADER = ["name", "sha256", "frames"]  # of the clip list


@dataclass(frozen=True)
class VideoFolder:
    """One method's videos, named as the real ones; ``failures`` says why some could not be made."""

    name: str
    folder: Path
    failures: Mapping[str, str] = field(default_factory=dict)


def find_clips(folder: Path) -> list[Path]:
    """The videos directly in a folder, by name; hidden files are none.

    Raises:
        DatasetError: the folder is absent or holds no video.
    """
    if not folder.is_dir():
        raise DatasetError(f"folder {folder} does not exist")
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not clips:
        raise DatasetError(f"folder {folder} holds no video ({', '.join(SUFFIXES)})")
    return clips


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


def select_listed(clips: Sequence[Path], listed: Sequence[Clip]) -> list[Path]:
    """The clips that a frozen list names, in its order.

    Raises:
        DatasetError: one of them is absent, or is another file than the list was made with.
    """
    by_name = {path.name: path for path in clips}
    for clip in listed:
        if clip.name not in by_name:
            raise DatasetError(f"the clip list names {clip.name}, which is not there")
        if sha256(by_name[clip.name], DatasetError) != clip.sha256:
            raise DatasetError(f"{by_name[clip.name]} is not the file of the clip list: its sha256 differs")
    return [by_name[clip.name] for clip in listed]


def require_speech(clips: Sequence[Path]) -> None:
    """See that the real videos have pictures and sound, before anything that takes long.

    Raises:
        DatasetError: one of them cannot be read, or has no sound.
    """
    for clip in clips:
        try:
            has_audio = probe(clip).has_audio
        except InputError as error:
            raise DatasetError(f"real video {clip} cannot be used: {error}") from error
        if not has_audio:
            raise DatasetError(f"real video {clip} has no sound: the real videos must have the speech")


def method_names(folders: Sequence[Path], reserved: Sequence[str] = ()) -> list[str]:
    """Each folder's own name, behind as many of the folders above it as tell it from the others and from ``reserved``.

    Equal names are left only for folders that are the same.
    """
    paths = [folder.resolve() for folder in folders]
    taken = {path.parts for path in paths} | {(name,) for name in reserved}
    names = []
    for path in paths:
        depth = 1
        while any(other != path.parts and other[-depth:] == path.parts[-depth:] for other in taken):
            depth += 1
        names.append("/".join(path.parts[-depth:]))
    return names
