"""Clips to train on, and training sequences: a person, one of the person's clips, a place in it, augmented."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
from scipy.linalg import block_diag

from kptalk.audio import mean_norm
from kptalk.audio.mel import SILENCE
from kptalk.audio.windows import mel_windows
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import FPS, WINDOW
from kptalk.train.data import Clip, Inputs, TrainingClip, lengths_of, load_clips, people_of, split_people
from kptalk.train.facemesh import mirrored
from kptalk.train.stream import WindowOrder
from kptalk.train.tokens import open_tokens
from kptalk.types import Array, Floats

MEASURED = 2048  # clips, at most, that the mean mel frame is taken from


@dataclass(frozen=True)
class ClipData:
    """Clips to train on, clips of other people to choose the weights by, and the motion ``space`` of their tokens.

    ``mel_mean`` (80,) is the mean mel frame of speech, from which level normalisation starts.
    """

    space: FaceMeshSpace
    clips: Sequence[TrainingClip]
    held_out: Sequence[TrainingClip]
    mel_mean: Array

    def speech_windows(self, clip: TrainingClip) -> Array:
        """Windows (T, 80, 16) of a whole clip, level-normalised in steps of 64 frames as the stream does it."""
        windows = mel_windows(clip.mel, np.arange(len(clip)), FPS)
        state, parts = mean_norm.start(self.mel_mean), []
        for first in range(0, len(windows), WINDOW):
            part = windows[first : first + WINDOW]
            state = mean_norm.update(part, state)
            parts.append(mean_norm.apply(part, state))
        return np.concatenate(parts)


def load_clip_data(inputs: Inputs, kind: type[FaceMeshSpace] = FaceMeshSpace) -> ClipData:
    """Clips of a dataset or of a file of packed clips, split by person; ``mel_mean`` is of those to train on.

    A dataset's clips are read when they are wanted, and kept as far as memory allows; see ``kptalk.train.tokens``.

    Args:
        inputs: of the recipe.
        kind: of motion space that the clips' tokens are of.
    """
    space = kind.load(inputs.folder / "facemesh.safetensors")
    clips: Sequence[TrainingClip] = load_clips(inputs.data) if inputs.data.is_file() else open_tokens(inputs, kind)
    chosen, held_out = split_people(clips)
    total, weight = np.zeros(80), 0.0
    for number in range(0, len(chosen), -(-len(chosen) // MEASURED)):
        mel = chosen[number].mel
        speech = mean_norm.speech_weight(mel)
        total, weight = total + speech @ mel, weight + speech.sum()
    return ClipData(space, chosen, held_out, (total / weight).astype(np.float32))


def window_order(
    clips: Sequence[TrainingClip], window: int, buffer: int = 8192, balance: float = 1.0, seed: int = 0
) -> WindowOrder:
    """The order in which windows of clips are drawn, see ``WindowOrder``; no clip is read."""
    files = getattr(clips, "shards", None)
    return WindowOrder(lengths_of(clips), people_of(clips), window, buffer, balance, seed, files)


class PersonSampler(Generic[Clip]):
    """Draws clips: every person equally often, and a person's clips by their length."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        person = np.unique(np.asarray(people_of(clips)), return_inverse=True)[1]
        self._clips: Sequence[Clip] = clips
        self._lengths = np.asarray(lengths_of(clips), float)
        self._own = np.split(np.argsort(person, kind="stable"), np.cumsum(np.bincount(person))[:-1])

    def draw(self, rng: np.random.Generator) -> Clip:
        """One clip of anybody."""
        return self._clip(int(rng.integers(len(self._own))), rng)

    def draw_people(self, rng: np.random.Generator, count: int) -> Iterator[Clip]:
        """One clip each of up to ``count`` different people."""
        for person in rng.permutation(len(self._own))[:count]:
            yield self._clip(person, rng)

    def _clip(self, person: int, rng: np.random.Generator) -> Clip:
        own = self._own[person]
        lengths = self._lengths[own]
        return self._clips[int(own[rng.choice(len(own), p=lengths / lengths.sum())])]


def cut_sequence(clip: TrainingClip, mel_mean: Array, mirror: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Level-normalised windows (64, 80, 16) and tokens (64, 70) of one sequence, as the stream would see them.

    The sound is augmented, the tempo changed by up to 10 %, every second face mirrored. A clip that is too short
    repeats its last frame.
    """
    tempo = rng.uniform(0.9, 1.1)
    last = len(clip) - 1
    begin = rng.uniform(0, max(0.0, last - tempo * (WINDOW - 1)))
    frames = np.minimum(begin + tempo * np.arange(WINDOW), last)
    tokens = interpolate(clip.tokens, frames)
    mel = augment_mel(clip.mel, rng)
    state = mean_norm.start(mel_mean)
    history = int(rng.uniform(0, begin))
    if begin - history > 0:
        state = mean_norm.update(mel_windows(mel, np.arange(history, int(begin)), FPS), state)
    windows = mel_windows(mel, frames, FPS)
    windows = mean_norm.apply(windows, mean_norm.update(windows, state))
    if rng.random() < 0.5:
        tokens = tokens @ mirror
    return windows, tokens.astype(np.float32)


def interpolate(values: Array, frames: Array) -> Array:
    """Values (T, C) at fractional frames (n,) from 0 to T - 1, linearly, in the values' own precision."""
    low = frames.astype(int)
    share = (frames - low)[:, None].astype(values.dtype)
    return np.asarray(values[low] * (1 - share) + values[np.minimum(low + 1, len(values) - 1)] * share)


def augment_mel(mel: Floats, rng: np.random.Generator) -> Array:
    """A mel spectrogram (M, 80) with another level, spectral tilt and formants, with noise, or without some bands.

    One mel unit is 12.5 dB.
    """
    bands = mel.shape[1]
    axis = np.linspace(-1, 1, bands)
    warp = rng.uniform(-0.12, 0.12)  # formant shift: stretches the band axis
    source = np.clip(np.arange(bands) * (1 + warp * (1 - np.arange(bands) / bands)), 0, bands - 1)
    mel = interpolate(mel.T.astype(np.float64), source).T
    tilt = rng.normal(0, 0.3) * axis + rng.normal(0, 0.25) * np.cos(np.pi * axis * rng.uniform(0.5, 2))
    mel = mel + rng.normal(0, 0.5) + tilt
    if rng.random() < 0.5:
        noise = rng.normal(-2.5, 0.8) + rng.normal(0, 0.3) * axis + rng.normal(0, 0.25, mel.shape)
        mel = np.logaddexp2(mel * 4.15, noise * 4.15) / 4.15  # adds powers: 12.5 dB are 4.15 octaves of power
    if rng.random() < 0.3:
        width = rng.integers(4, 16)
        first = rng.integers(0, bands - width)
        mel = mel.copy()
        mel[:, first : first + width] = SILENCE
    return np.asarray(np.clip(mel, SILENCE, -SILENCE), np.float32)


def mirror_tokens(space: FaceMeshSpace) -> Array:
    """Matrix (70, 70): tokens @ matrix are the tokens of the mirror image."""
    basis = (space.unwhiten @ space.decoder).reshape(len(space.decoder), -1, 3)
    flipped = mirrored(basis, space.mirror).reshape(len(space.decoder), -1) @ space.encoder @ space.whiten
    pose = np.diag([1, -1, 1, -1, -1, 1, 1])  # scale, yaw, pitch, roll, translation
    return np.asarray(block_diag(pose, flipped), np.float32)
