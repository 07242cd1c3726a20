"""Raw videos to training shards: tracked landmarks and sound, one file a clip, and a reason for every clip left out."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kptalk.errors import DatasetError, InputError
from kptalk.face.find import SMALLEST
from kptalk.face.landmarks import FaceMesh
from kptalk.files import explain, make_folder
from kptalk.media.audio import Speech
from kptalk.media.clip import VIDEO_SUFFIXES, read_frames
from kptalk.motion.generator import FPS
from kptalk.train.data import SHORTEST
from kptalk.train.dataset import TrackedClip
from kptalk.train.shards import write_dataset
from kptalk.types import SAMPLE_RATE, Array

SEEN = 0.95  # share of the frames that must show a face
JUMP = 0.35  # of the face's width between two frames: a cut, or another person


def prepare_videos(
    videos: Sequence[Path], folder: Path, people: Path | None = None
) -> Iterator[tuple[Path, str | None]]:
    """Write a shard for every usable video into ``folder``, several at a time; existing shards are kept.

    Args:
        videos: files, or folders of them.
        folder: created where absent.
        people: CSV with the columns ``file`` and ``identity``; the file's name decides, folders are ignored.

    Yields:
        each video in order, and why it was left out, or None if it was taken.

    Raises:
        DatasetError: there are no videos, or the CSV cannot be read.
        OutputError: the folder or a shard cannot be written.
    """
    names = _identities(people) if people else {}
    files: list[Path] = []
    for video in videos:
        found = (file for file in video.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
        files += sorted(found) if video.is_dir() else [video]
    if not files:
        places, endings = ", ".join(map(str, videos)), ", ".join(sorted(VIDEO_SUFFIXES))
        raise DatasetError(f"no videos in {places}: give files or folders of {endings}")
    make_folder(folder)
    taken: list[tuple[str, TrackedClip]] = []

    def prepare(file: Path) -> str | None:
        try:
            landmarks, sound, begin = track(file)
        except InputError as error:
            return str(error)
        identity = names.get(file.name, file.stem)
        taken.append((file.stem, TrackedClip(landmarks, sound, identity, file.absolute(), begin)))
        return None

    for file in files:
        yield file, prepare(file)
    write_dataset(folder, taken)


def track(file: Path) -> tuple[Array, Array, int]:
    """Landmarks (T, 478, 3) and sound (N,) of one video, both from its first frame with a face, and its number.

    Raises:
        InputError: the video cannot be used; the message says why.
    """
    with FaceMesh(video=True) as mesh:
        faces = [mesh(image) for image in read_frames(file, FPS)]
    frames, seen = len(faces), [index for index, face in enumerate(faces) if face]
    if frames < SHORTEST:
        raise DatasetError(f"only {frames} frames at 25 fps, at least {SHORTEST} are needed")
    if len(seen) < SEEN * frames:
        raise DatasetError(f"face found in only {len(seen)} of {frames} frames")
    latest = np.searchsorted(seen, np.arange(seen[0], frames), side="right") - 1  # or the one before it
    landmarks = np.stack([face.landmarks for face in faces if face])[latest]
    centre, width = landmarks[:, 1, :2], np.ptp(landmarks[..., 0], axis=1)
    if np.median(width) < SMALLEST:
        raise DatasetError(f"the face is {np.median(width):.0f} pixels wide, at least {SMALLEST} are needed")
    if (np.linalg.norm(np.diff(centre, axis=0), axis=-1) > JUMP * width[1:]).any():
        raise DatasetError("the face jumps: a cut, or several people; split the video there")
    sound = np.concatenate(list(Speech.open(file).chunks()))
    if len(sound) < 0.9 * frames * SAMPLE_RATE / FPS:
        raise DatasetError(f"{len(sound) / SAMPLE_RATE:.1f} s of sound for {frames / float(FPS):.1f} s of pictures")
    if np.abs(sound).max() < 1e-3:
        raise DatasetError("the sound is silent")
    return landmarks, sound[round(seen[0] * SAMPLE_RATE / FPS) :], seen[0]


def _identities(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="") as file:
            return {Path(row["file"]).name: row["identity"] for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else explain(error)
        raise DatasetError(f"cannot read people from {path}: {reason}; columns file and identity are needed") from error
