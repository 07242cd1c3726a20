"""Training data: tracked clips become motion tokens and mel spectrograms, in step, at 25 frames a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.signal import savgol_filter

from kptalk.audio.mel import FRAME_RATE, SILENCE, mel_spectrogram
from kptalk.errors import DatasetError
from kptalk.face.topology import gaze, lid_opening
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.train.space import align_clip, mirrored, relative_pose
from kptalk.types import N_KEYPOINTS, Array

FPS = Fraction(25)
LEAD = 2  # video frames before a video frame's own instant in its window (0.08 s)
MEL_WINDOW = 16


@dataclass(frozen=True)
class TrainingClip:
    """One clip: ``tokens`` (T, 70), ``canonical`` (70,) its first reference token, ``mel`` (M, 80), ``identity``."""

    tokens: Array
    canonical: Array
    mel: Array
    identity: str


def training_clip(space: FaceMeshSpace, landmarks: Array, sound: Array, identity: str) -> TrainingClip:
    """Tokens and mel of one tracked clip at 25 fps.

    Blinks and gaze are taken out of the expression: they do not follow from the speech, and control draws them.

    Args:
        space: the motion space.
        landmarks: (T, 478, 3) pixels.
        sound: (N,) float32 at 16 kHz.
        identity: name of the person.
    """
    aligned = align_clip(landmarks, space.template)
    expression = space.encode(aligned.meshes - aligned.neutral)
    opening, own = lid_opening(aligned.meshes).mean(-1), lid_opening(aligned.neutral).mean()
    look = gaze(aligned.meshes) - gaze(aligned.neutral)
    expression = expression - (1 - opening / own)[:, None, None] * space.blink
    expression = expression - np.einsum("tg,gkd->tkd", look, space.gaze)

    pose = relative_pose(aligned)
    if len(pose) > 9:
        pose = savgol_filter(pose, 9, 2, axis=0)  # the tracker's jitter: 0.03 to 0.2 degrees
    whitened = expression.reshape(len(expression), -1) @ space.whiten
    tokens = np.concatenate([pose / space.pose_std, whitened], 1).astype(np.float32)
    mel = mel_spectrogram(sound).T.astype(np.float32)
    count = min(len(tokens), (len(mel) - 1) * 25 // FRAME_RATE)
    canonical = space.canonical_token(aligned.neutral[space.vertices_of_control])
    return TrainingClip(tokens[:count], canonical, mel, identity)


def save_clips(clips: Sequence[TrainingClip], path: Path) -> None:
    """Write clips as one small file of float16: all that the networks need, without the landmarks and the sound."""
    tensors = {}
    for number, clip in enumerate(clips):
        for name in ("tokens", "canonical", "mel"):
            tensors[f"{number}.{name}"] = np.ascontiguousarray(getattr(clip, name), np.float16)
    save_file(tensors, path, metadata={"kptalk": "clips", "people": json.dumps([clip.identity for clip in clips])})


def load_clips(path: Path) -> list[TrainingClip]:
    """Read clips that ``save_clips`` wrote.

    Raises:
        DatasetError: the file is absent, damaged or something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            people = json.loads((file.metadata() or {})["people"])

            def tensor(number: int, name: str) -> Array:
                return np.asarray(file.get_tensor(f"{number}.{name}"), np.float32)

            return [
                TrainingClip(tensor(i, "tokens"), tensor(i, "canonical"), tensor(i, "mel"), identity)
                for i, identity in enumerate(people)
            ]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DatasetError(f"cannot read training clips {path}: {error}") from error


def mirror_tokens(space: FaceMeshSpace) -> Array:
    """Matrix (70, 70): tokens @ matrix are the tokens of the mirror image."""
    basis = (space.unwhiten @ space.decoder).reshape(3 * N_KEYPOINTS, -1, 3)
    flipped = mirrored(basis, space.mirror).reshape(3 * N_KEYPOINTS, -1) @ space.encoder @ space.whiten
    pose = np.diag([1.0, -1, 1, -1, -1, 1, 1])  # scale, yaw, pitch, roll, translation
    matrix = np.zeros((7 + 3 * N_KEYPOINTS,) * 2, np.float32)
    matrix[:7, :7], matrix[7:, 7:] = pose, flipped
    return matrix


def mel_windows(mel: Array, frames: NDArray[Any]) -> Array:
    """Windows (n, 80, 16) of mel (M, 80) at video frames (n,), possibly fractional; ends repeat.

    For whole frames they are those of ``kptalk.audio.windows``.
    """
    starts = np.trunc(FRAME_RATE * (frames - LEAD) / float(FPS)).astype(int)
    indices = np.clip(starts[:, None] + np.arange(MEL_WINDOW), 0, len(mel) - 1)
    windows: Array = mel[indices].transpose(0, 2, 1)
    return windows


def augment_mel(mel: Array, rng: np.random.Generator) -> Array:
    """Another voice, microphone or room for a mel spectrogram (M, 80): level, tilt, formants, noise, missing bands.

    One mel unit is 12.5 dB.
    """
    bands = mel.shape[1]
    axis = np.linspace(-1, 1, bands)
    warp = rng.uniform(-0.12, 0.12)  # formant shift: stretches the band axis
    source = np.clip(np.arange(bands) * (1 + warp * (1 - np.arange(bands) / bands)), 0, bands - 1)
    low = np.floor(source).astype(int)
    share = source - low
    mel = mel[:, low] * (1 - share) + mel[:, np.minimum(low + 1, bands - 1)] * share
    colour = rng.normal(0, 0.3) * axis + rng.normal(0, 0.25) * np.cos(np.pi * axis * rng.uniform(0.5, 2))
    mel = mel + rng.normal(0, 0.5) + colour
    if rng.random() < 0.5:
        noise = rng.normal(-2.5, 0.8) + rng.normal(0, 0.3) * axis + rng.normal(0, 0.25, mel.shape)
        mel = np.logaddexp2(mel * 4.15, noise * 4.15) / 4.15  # adds powers: 12.5 dB are 4.15 octaves of power
    if rng.random() < 0.3:
        width = rng.integers(4, 16)
        first = rng.integers(0, bands - width)
        mel = mel.copy()
        mel[:, first : first + width] = SILENCE
    return np.clip(mel, SILENCE, -SILENCE).astype(np.float32)


class OfPerson(Protocol):
    """Anything that was taken from one person."""

    @property
    def identity(self) -> str:
        """Name of the person."""


def split_fold(clips: Sequence[OfPerson], share: float = 0.1, seed: int = 0) -> tuple[list[int], list[int]]:
    """Indices of clips to train on and, of other people, to choose by."""
    people = sorted({clip.identity for clip in clips})
    np.random.default_rng(seed).shuffle(people)
    held = set(people[: max(1, round(share * len(people)))])
    kept = [i for i, clip in enumerate(clips) if clip.identity not in held]
    return kept, [i for i, clip in enumerate(clips) if clip.identity in held]
