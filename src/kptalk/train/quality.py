"""How good generated motion is, measured as motion, without drawing: lips, sync, head, smoothness, distribution.

What the ablations report. The clips are of people held out; everything is relative to what they really did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch import Tensor

from kptalk.audio.sync_mel import STEPS, level_free, resample
from kptalk.errors import DatasetError
from kptalk.evaluate.metrics.lips import correlation
from kptalk.face.measures import lip_shape
from kptalk.motion.facemesh.generator import N_POSE
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import FPS
from kptalk.networks.sync import SEARCH, SyncModel, lag_correlations
from kptalk.train.data import TrainingClip
from kptalk.train.validation import head_columns
from kptalk.types import Array

Draw = Callable[[Tensor, Tensor, Tensor], Tensor]  # references, audio, noise -> a window of frames
LONGEST, MOST_CLIPS = 128, 32  # frames that are generated of a clip, and clips
N_SHAPE = 16  # expression tokens whose distribution is compared: those that move the face most


@dataclass(frozen=True)
class Column:
    """A number that is reported: ``better`` is higher, lower, or real (the nearer to 1 the better)."""

    key: str
    title: str
    better: str


COLUMNS = (
    Column("lip_r", "lip opening r", "higher"),
    Column("sync_r", "sync r", "higher"),
    Column("lip_amplitude", "lip amplitude (× real)", "real"),
    Column("head_spread", "head spread (× real)", "real"),
    Column("head_speed", "head speed (× real)", "real"),
    Column("jerk", "jerk (× real)", "real"),
    Column("distance", "Fréchet distance", "lower"),
    Column("cpu", "CPU s per s of speech", "lower"),
)


@dataclass(frozen=True)
class HeldOut:
    """Clips (n) of the same number of frames: real tokens (n, 1 + L, D), features (n, 1 + L, 512), their sound.

    ``canonical`` (n, D) are the first reference tokens.
    """

    space: FaceMeshSpace
    real: Array
    features: Array
    canonical: Array
    mels: list[Array]

    @classmethod
    def of(
        cls,
        space: FaceMeshSpace,
        clips: Sequence[TrainingClip],
        features: Callable[[int], NDArray[np.floating]],
        canonical: bool,
    ) -> HeldOut:
        """The first frames of clips that are long enough.

        Raises:
            DatasetError: there is no clip.
        """
        if not len(clips):
            raise DatasetError("no clip of the people held out is long enough: add longer clips of more people")
        length = min(LONGEST + 1, max(len(clip) for clip in clips))
        numbers = [number for number, clip in enumerate(clips) if len(clip) >= length][:MOST_CLIPS]
        first = np.stack([clips[number].canonical for number in numbers])
        return cls(
            space,
            np.stack([clips[number].tokens[:length] for number in numbers]),
            np.stack([features(number)[:length].astype(np.float32) for number in numbers]),
            first if canonical else np.zeros_like(first),
            [clips[number].mel for number in numbers],
        )

    def generate(self, draw: Draw, window: int, seed: int) -> tuple[Array, float]:
        """Tokens (n, L, D), window after window from the first real frame as KDTalker does; CPU seconds per second."""
        rng = torch.Generator().manual_seed(seed)
        count, length = len(self.real), self.real.shape[1] - 1
        windows = -(-length // window)
        audio = np.pad(self.features[:, 1:], ((0, 0), (0, windows * window - length), (0, 0)), "edge")
        before, parts, spent = torch.from_numpy(self.real[:, 0]), [], 0.0
        for number in range(windows):
            heard = torch.from_numpy(audio[:, number * window : (number + 1) * window])
            noise = torch.randn(count, window, self.real.shape[2], generator=rng)
            begun = time.process_time()
            drawn = draw(torch.stack([torch.from_numpy(self.canonical), before], 1), heard, noise).cpu()
            spent += time.process_time() - begun
            parts.append(drawn)
            before = drawn[:, -1]
        seconds = count * windows * window / float(FPS)
        return np.asarray(torch.cat(parts, 1)[:, :length].numpy()), spent / seconds

    def measure(self, tokens: Array, judge: SyncModel) -> dict[str, float]:
        """The columns of generated tokens (n, L, D), all but the CPU's."""
        space, real = self.space, self.real[:, 1:]
        opening, angles = space.lip_tokens(), space.pose_std[1:4]
        ours, theirs = tokens[..., N_POSE:] @ opening, real[..., N_POSE:] @ opening
        head = head_columns(tokens[..., 1:4] * angles, real[..., 1:4] * angles)
        return {
            "lip_r": float(np.mean([correlation(a, b) for a, b in zip(ours, theirs, strict=True)])),
            "sync_r": float(np.mean([self._sync(*pair, judge) for pair in zip(tokens, self.mels, strict=True)])),
            "lip_amplitude": float(ours.std(1).mean() / theirs.std(1).mean()),
            "head_spread": head["head_spread"],
            "head_speed": head["head_speed"],
            "jerk": float(self._jerk(tokens) / self._jerk(real)),
            "distance": frechet_distance(self._features(tokens), self._features(real)),
        }

    def _meshes(self, tokens: Array) -> Array:
        """The mean face that moves as expression tokens (T, D) say, (T, 478, 3)."""
        expression = self.space.expression(tokens[:, N_POSE:] @ self.space.unwhiten)
        return np.asarray(self.space.template + self.space.decode(expression), np.float32)

    @torch.inference_mode()
    def _sync(self, tokens: Array, mel: Array, judge: SyncModel) -> float:
        """Correlation of lips and sound in step, as ``sync_r`` of the evaluation."""
        lips = lip_shape(self._meshes(tokens), judge.held_points.numpy()).astype(np.float32)
        # The first token is the clip's second frame.
        sound = resample(level_free(mel), 1 + np.arange(STEPS * len(lips)) / STEPS)
        lip_track, sound_track = judge(*(torch.from_numpy(x)[None] for x in (lips - lips.mean(0), sound)))
        return float(lag_correlations(lip_track, sound_track, torch.ones(1, 1, len(lips)))[0, SEARCH])

    def _jerk(self, tokens: Array) -> float:
        """Mean third difference of the lips' opening and of the head's angles, by the real spreads."""
        tracks = np.concatenate(
            [(tokens[..., N_POSE:] @ self.space.lip_tokens())[..., None] / 0.05, tokens[..., 1:4]], -1
        )
        return float(np.abs(np.diff(tracks, 3, axis=1)).mean())

    def _features(self, tokens: Array) -> Array:
        """Pose and main expression with their speed, (n, d): what ``frechet_distance`` compares."""
        main = np.argsort(-self.space.token_importance())[:N_SHAPE]
        chosen = np.concatenate([tokens[..., :N_POSE], tokens[..., N_POSE + main]], -1)
        both = np.concatenate([chosen[:, 1:], 3 * np.diff(chosen, axis=1)], -1)
        return np.asarray(both.reshape(-1, both.shape[-1]), np.float64)


def frechet_distance(a: Array, b: Array) -> float:
    """Between normal distributions fitted to (n, d) and (m, d), as FID."""
    product = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    trace = np.trace(np.cov(a.T) + np.cov(b.T) - 2 * product)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + trace)
