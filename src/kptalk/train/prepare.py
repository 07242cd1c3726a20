"""Raw videos to training shards: tracked landmarks and sound, one file a clip, and a reason for every clip left out."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kptalk.audio.mel import SAMPLE_RATE
from kptalk.errors import DatasetError, InputError, OutputError
from kptalk.face.find import SMALLEST
from kptalk.face.landmarks import N_LANDMARKS, FaceMesh
from kptalk.media.audio import Speech
from kptalk.media.clip import read_frames
from kptalk.train.data import FPS
from kptalk.types import Array

SHORTEST = 40  # frames; less than the denoiser can learn from
SEEN = 0.95  # share of the frames that must show a face
JUMP = 0.35  # of the face's width between two frames: a cut, or another person
VIDEO_ENDINGS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg"}


@dataclass(frozen=True)
class Shard:
    """One clip at 25 fps: ``landmarks`` (T, 478, 3) pixels, ``sound`` (N,) float32 at 16 kHz, whose face it is."""

    landmarks: Array
    sound: Array
    identity: str


def prepare_videos(
    videos: Sequence[Path], folder: Path, people: Path | None = None
) -> Iterator[tuple[Path, str | None]]:
    """Write a shard for every usable video into ``folder``; existing shards are kept.

    Args:
        videos: files, or folders of them.
        folder: created where absent.
        people: CSV with the columns ``file`` and ``identity``; the file's name decides, folders are ignored.

    Yields:
        each video and why it was left out, or None if it was taken.

    Raises:
        DatasetError: there are no videos, or the CSV cannot be read.
        OutputError: the folder cannot be made.
    """
    names = _identities(people) if people else {}
    files = [file for video in videos for file in _files(video)]
    if not files:
        places, endings = ", ".join(map(str, videos)), ", ".join(sorted(VIDEO_ENDINGS))
        raise DatasetError(f"no videos in {places}: give files or folders of {endings}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; give another one") from error
    taken: set[str] = set()
    for file in files:
        shard = folder / f"{file.stem}.safetensors"
        if file.stem in taken:
            yield file, f"another video of this call is named {file.stem} too: rename one"
            continue
        taken.add(file.stem)
        if shard.exists():
            yield file, None
            continue
        try:
            landmarks, sound = track(file)
        except InputError as error:
            yield file, str(error)
            continue
        save_file(
            {"landmarks": landmarks, "sound": np.round(sound * 32767).astype(np.int16)},
            shard,
            metadata={"kptalk": "shard", "fps": str(FPS), "identity": names.get(file.name, file.stem)},
        )
        yield file, None


def track(file: Path) -> tuple[Array, Array]:
    """Landmarks (T, 478, 3) and sound (N,) of one video, both from its first frame with a face.

    Raises:
        InputError: the video cannot be used; the message says why.
    """
    found: list[Array] = []
    seen = frames = before = 0
    with FaceMesh(video=True) as mesh:
        for image in read_frames(file, FPS):
            frames += 1
            faces = mesh(image)
            if faces:
                seen += 1
                found.append(faces[0].landmarks)
            elif found:
                found.append(found[-1])
            else:
                before += 1
    if frames < SHORTEST:
        raise DatasetError(f"only {frames} frames at 25 fps, at least {SHORTEST} are needed")
    if seen < SEEN * frames:
        raise DatasetError(f"a face in {seen} of {frames} frames only")
    landmarks = np.stack(found)
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
    return landmarks, sound[round(before * SAMPLE_RATE / FPS) :]


def load_shards(folder: Path) -> list[Shard]:
    """All shards of a folder, by name.

    Raises:
        DatasetError: there are none, or one cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DatasetError(f"no shards in {folder}: make them with 'kptalk prepare VIDEOS -o {folder}'")
    return [_load(file) for file in files]


def _load(path: Path) -> Shard:
    try:
        with safe_open(path, framework="numpy") as file:
            landmarks, sound = file.get_tensor("landmarks"), file.get_tensor("sound")
            identity = (file.metadata() or {})["identity"]
    except (OSError, SafetensorError, KeyError) as error:
        raise DatasetError(f"cannot read shard {path}: {error}") from error
    if landmarks.shape[1:] != (N_LANDMARKS, 3):
        raise DatasetError(f"shard {path} has landmarks of shape {landmarks.shape}, expected (T, {N_LANDMARKS}, 3)")
    return Shard(landmarks, sound.astype(np.float32) / 32767, identity)


def _files(video: Path) -> list[Path]:
    if video.is_dir():
        return sorted(file for file in video.rglob("*") if file.suffix.lower() in VIDEO_ENDINGS)
    return [video]


def _identities(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="") as file:
            return {Path(row["file"]).name: row["identity"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read people from {path}: {error}; columns file and identity are needed") from error
