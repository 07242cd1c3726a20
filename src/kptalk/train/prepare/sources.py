"""What is to be prepared: videos or parts of them, and whose they are, from folders, lists, tables and annotations.

Two layouts are known. VoxCeleb2: ``id00012/21Uxsk56VDQ/00001.mp4``, with a text file for each of these that names
frames of the YouTube video and the face's box in them. HDTF: ``RD_Radio11_0.mp4``, with ``*_annotion_time.txt`` (when
somebody talks) and ``*_crop_wh.txt`` (where) for videos that are not cut yet.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from kptalk.errors import DatasetError
from kptalk.files import explain
from kptalk.media.clip import VIDEO_SUFFIXES
from kptalk.motion.generator import FPS

SPEAKER = re.compile(r"id\d{5}")
HDTF_CLIP = re.compile(r"((?:RD|WDA|WRA)_.*?)_?\d{1,3}")
ROOM = 0.25  # of the width of a VoxCeleb2 box, by which the middle of the face may be outside it


@dataclass(frozen=True)
class Source:
    """A video or a part of it.

    Attributes:
        name: that its clips are called by.
        video: the file.
        identity: whose face it shows.
        start, end: seconds; ``end`` None for all.
        region: x0, y0, x1, y1, in pixels or, up to 1, in shares of the picture, where the middle of the face is.
    """

    name: str
    video: Path
    identity: str
    start: float = 0.0
    end: float | None = None
    region: tuple[float, float, float, float] | None = None


def find_sources(
    videos: Sequence[Path], people: Path | None = None, annotations: Path | None = None
) -> tuple[list[Source], list[tuple[Path, str]]]:
    """All that is to be prepared, in a fixed order, and the files that are not, with the reason.

    Args:
        videos: files, folders of them, glob patterns, lists (``.txt``, a file a line) or tables (``.csv`` with the
            column ``file`` and, where wanted, ``name``, ``identity``, ``start`` and ``end`` in seconds).
        people: CSV with the columns ``file`` and ``identity``; the file's name decides, folders are ignored.
        annotations: folder of HDTF's or VoxCeleb2's text files; videos that they do not name are left out.

    Raises:
        DatasetError: there are no videos, or a list, table or annotation cannot be read.
    """
    found = [source for place in videos for source in _from(place)]
    if not found:
        places, endings = ", ".join(map(str, videos)), ", ".join(sorted(VIDEO_SUFFIXES))
        raise DatasetError(f"no videos in {places}: give files or folders of {endings}")
    left_out: list[tuple[Path, str]] = []
    if annotations is not None:
        parts = _annotated(annotations)
        left_out += [(s.video, "no annotation names it") for s in found if not parts.get(s.video.stem)]
        found = [_part(source, *each) for source in found for each in parts.get(source.video.stem, [])]
    names = _identities(people) if people else {}
    taken: dict[str, Source] = {}
    for source in found:
        if (other := taken.get(source.name)) is not None:
            if other != source:
                left_out.append((source.video, f"another video is named {source.name} too: rename one"))
            continue
        identity = names.get(source.video.name, source.identity)
        taken[source.name] = Source(source.name, source.video, identity, source.start, source.end, source.region)
    return list(taken.values()), left_out


def _from(place: Path) -> Iterator[Source]:
    """The sources in one place that the user named."""
    if place.is_dir():
        for file in sorted(file for file in place.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES):
            yield _whole(file, file.relative_to(place).with_suffix("").as_posix())
    elif place.suffix.lower() == ".txt":
        for line in _lines(place):
            yield _whole(place.parent / line.strip(), Path(line.strip()).with_suffix("").as_posix().lstrip("/."))
    elif place.suffix.lower() == ".csv":
        yield from _table(place)
    elif not place.exists() and has_magic(str(place)):
        root = next(parent for parent in place.parents if not has_magic(str(parent)))
        for file in sorted(map(Path, glob(str(place), recursive=True))):
            if file.suffix.lower() in VIDEO_SUFFIXES:
                yield _whole(file, file.relative_to(root).with_suffix("").as_posix())
    else:
        yield _whole(place, place.stem)


def _whole(file: Path, name: str) -> Source:
    speaker = next((part for part in file.parts if SPEAKER.fullmatch(part)), None)
    hdtf = HDTF_CLIP.fullmatch(file.stem)
    return Source(name, file.absolute(), speaker or (hdtf[1] if hdtf else name))


def _table(path: Path) -> Iterator[Source]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                file_name = Path(row["file"])
                source = _whole(path.parent / file_name, file_name.with_suffix("").as_posix().lstrip("/."))
                start, end = float(row.get("start") or 0), float(row["end"]) if row.get("end") else None
                name = row.get("name") or (source.name if start == 0 and end is None else f"{source.name}@{start:g}")
                yield Source(name, source.video, row.get("identity") or source.identity, start, end)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else explain(error)
        raise DatasetError(f"cannot read videos from {path}: {reason}; the column file is needed") from error


def _identities(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="") as file:
            return {Path(row["file"]).name: row["identity"] for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else explain(error)
        raise DatasetError(f"cannot read people from {path}: {reason}; columns file and identity are needed") from error


Part = tuple[str, str | None, float, float, tuple[float, float, float, float] | None]  # name, identity, from, to, where


def _part(source: Source, name: str, identity: str | None, start: float, end: float, region: object) -> Source:
    return Source(name, source.video, identity or source.identity, start, end, region)  # type: ignore[arg-type]


def _annotated(folder: Path) -> dict[str, list[Part]]:
    """Parts of videos by the video's stem."""
    found: dict[str, list[Part]] = {}
    try:
        for path in sorted(folder.rglob("*_annotion_time.txt")):
            regions = dict(_hdtf_regions(path.with_name(path.name.replace("annotion_time", "crop_wh"))))
            for stem, part in _hdtf_parts(path, regions):
                found.setdefault(stem, []).append(part)
        for path in sorted(folder.rglob("*.txt")):
            if SPEAKER.fullmatch(path.parent.parent.name):
                found.setdefault(path.parent.name, []).append(_voxceleb_part(path))
    except (IndexError, ValueError) as error:
        raise DatasetError(f"cannot read annotations {path}: {explain(error)}") from error
    if not found:
        raise DatasetError(f"no annotations of HDTF or VoxCeleb2 in {folder}")
    return found


def _hdtf_parts(path: Path, regions: dict[str, tuple[float, float, float, float]]) -> Iterator[tuple[str, Part]]:
    """Lines are ``Radio11.mp4 00:30-01:00 01:30-02:30``; videos are named so, or with the subset before it."""
    subset = path.name.split("_")[0]
    for line in _lines(path):
        file, *times = line.split()
        stem = Path(file).stem
        for number, time in enumerate(times):
            start, end = (_seconds(moment) for moment in time.split("-"))
            name, region = f"{stem}_{number}", regions.get(f"{stem}_{number}")
            for prefix in ("", f"{subset}_"):
                yield prefix + stem, (prefix + name, f"{subset}_{stem}", start, end, region)


def _hdtf_regions(path: Path) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Lines are ``Radio11_0.mp4 x width y height`` in pixels."""
    for line in _lines(path) if path.is_file() else ():
        file, x, width, y, height = line.split()
        yield Path(file).stem, (float(x), float(y), float(x) + float(width), float(y) + float(height))


def _voxceleb_part(path: Path) -> Part:
    """One text file: a header, then frame number at 25 fps, x, y, width and height of the face in shares."""
    rows = [line.split() for line in _lines(path) if re.match(r"\s*\d+\s", line)]
    numbers = [int(row[0]) for row in rows]
    boxes = [[float(value) for value in row[1:5]] for row in rows]
    room = ROOM * max(box[2] for box in boxes)
    x0, y0 = min(box[0] for box in boxes) - room, min(box[1] for box in boxes) - room
    x1, y1 = (max(box[k] + box[k + 2] for box in boxes) + room for k in (0, 1))
    identity, reference = path.parent.parent.name, path.parent.name
    times = numbers[0] / float(FPS), (numbers[-1] + 1) / float(FPS)
    return f"{identity}/{reference}/{path.stem}", identity, *times, (x0, y0, x1, y1)


def _seconds(text: str) -> float:
    """``01:30`` or ``1:02:03`` as seconds."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def _lines(path: Path) -> Iterable[str]:
    """Lines with something in them, but comments."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the list {path}: {explain(error)}") from error
    return [line for line in lines if line.strip() and not line.startswith("#")]
