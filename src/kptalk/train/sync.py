"""Trains the sync model that judges lip sync: to find by how much sound was moved, and whose sound it is.

Videos come with AV offsets of their own, two frames are common. Before training, a ridge regression that has not seen
the person measures each clip's; training takes it out, so that zero is the offset of the average clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kptalk.audio.mel import FRAME_RATE, mel_spectrogram
from kptalk.audio.sync_mel import STEPS, level_free, resample
from kptalk.face.lip_shape import STABLE_POINTS, lip_shape
from kptalk.networks.sync import SEARCH, SyncModel, lag_correlations
from kptalk.train.data import FPS, augment_mel
from kptalk.train.prepare import Shard
from kptalk.train.space import fit_template
from kptalk.train.sync_ridge import RidgeFit, ridge_curve
from kptalk.types import Array

WINDOW = 90  # frames in a training sequence
BATCH = 24
SHIFT = 10  # frames, largest artificial shift
SHORTEST = 50  # frames; shorter clips teach no lag
OWN = 4  # frames; a larger offset of a clip's own is an error of the ridge, prepared clips have none
SPREAD = 0.7  # frames, uncertainty of a clip's own offset
JITTER = 0.05  # of lip shapes: the tracker's noise
SHARPNESS = 20.0  # of the softmax over correlations


@dataclass(frozen=True)
class SyncClip:
    """One clip: ``lips`` (T, 68), ``mel`` (M, 80), whose face, and the clip's own AV ``offset`` in frames."""

    lips: Array
    mel: Array
    identity: str
    offset: float = 0.0


def held_points(shards: Sequence[Shard]) -> Array:
    """The mean face's stable points (44, 3), eyes 1 apart."""
    points: Array = fit_template([shard.landmarks for shard in shards])[STABLE_POINTS].astype(np.float32)
    return points


def sync_clips(shards: Sequence[Shard], points: Array) -> list[SyncClip]:
    """Lip shapes and mel frames of shards, in step; clips too short to teach a lag are left out."""
    clips = []
    for shard in shards:
        mel = mel_spectrogram(shard.sound).T.astype(np.float32)
        lips = lip_shape(shard.landmarks, points)[: (len(mel) - 1) * int(FPS) // FRAME_RATE]
        if len(lips) >= SHORTEST:
            clips.append(SyncClip(lips, mel, shard.identity))
    return clips


def with_own_offsets(clips: Sequence[SyncClip]) -> list[SyncClip]:
    """The clips with their own AV offset, each measured by a ridge on the other people."""
    fit = RidgeFit([clip.lips for clip in clips], [clip.mel for clip in clips], [clip.identity for clip in clips])
    weights = {person: fit.weights(without=person) for person in {clip.identity for clip in clips}}
    found = []
    for clip in clips:
        curve = ridge_curve(weights[clip.identity], clip.lips, clip.mel)
        offset = int(curve[SEARCH - OWN : SEARCH + OWN + 1].argmax()) - OWN
        found.append(replace(clip, offset=float(offset) if offset == curve.argmax() - SEARCH else 0.0))
    return found


class SyncSampler:
    """Draws sequences of as many people as a batch has, the sound moved by a known number of frames."""

    def __init__(self, clips: Sequence[SyncClip]) -> None:
        self._people: dict[str, list[SyncClip]] = {}
        for clip in clips:
            self._people.setdefault(clip.identity, []).append(clip)
        self._names = sorted(self._people)

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Lips (B, T, 68), mel frames (B, 4 T, 80), and by how many frames the sound comes later, (B,) int64."""
        lips, sounds, shifts = [], [], []
        for name in rng.permutation(self._names)[:BATCH]:
            own = self._people[name]
            sizes = np.array([len(clip.lips) for clip in own], float)
            clip = own[rng.choice(len(own), p=sizes / sizes.sum())]
            shift = int(rng.integers(-SHIFT, SHIFT + 1))
            shape, mel = _cut(clip, shift, rng)
            lips.append(shape)
            sounds.append(mel)
            shifts.append(shift)
        return torch.from_numpy(np.stack(lips)), torch.from_numpy(np.stack(sounds)), torch.tensor(shifts)


def _cut(clip: SyncClip, shift: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """One augmented sequence; the speech's tempo changes by up to 10 %, a clip that is too short repeats its ends."""
    tempo = rng.uniform(0.9, 1.1)
    last = len(clip.lips) - 1
    low, high = max(0.0, tempo * shift), last - tempo * (WINDOW - 1) + min(0.0, tempo * shift)
    begin = rng.uniform(low, high) if high > low else max(0.0, (last - tempo * (WINDOW - 1)) / 2)
    frames = np.clip(begin + tempo * np.arange(WINDOW), 0, last)
    whole = frames.astype(int)
    share = (frames - whole)[:, None]
    shape = clip.lips[whole] * (1 - share) + clip.lips[np.minimum(whole + 1, last)] * share
    shape = (shape - shape.mean(0)) * rng.uniform(0.7, 1.4) + rng.normal(0, JITTER, shape.shape)
    instants = begin + clip.offset + tempo * (np.arange(STEPS * WINDOW) / STEPS - shift)
    mel = resample(level_free(augment_mel(clip.mel, rng)), np.clip(instants, 0, last))
    return shape.astype(np.float32), mel


def sync_loss(sampler: SyncSampler) -> Callable[[nn.Module, np.random.Generator], Tensor]:
    """Loss of a batch: cross-entropy of the shift among all lags, and of the own sound among the batch's (InfoNCE)."""

    def loss(model: nn.Module, rng: np.random.Generator) -> Tensor:
        device = next(model.parameters()).device
        lips, sound, shifts = (part.to(device) for part in sampler.draw(rng))
        moved, heard = model(lips, sound)
        own = lag_cross_entropy(moved, heard, shifts)
        inner = torch.arange(SHIFT, WINDOW - SHIFT, device=device)
        places = (inner + shifts[:, None])[:, None].expand(-1, heard.shape[1], -1)
        pairs = SHARPNESS * _unit(moved[..., inner]) @ _unit(heard.gather(2, places)).T
        which = torch.arange(len(pairs), device=device)
        total: Tensor = own + (F.cross_entropy(pairs, which) + F.cross_entropy(pairs.T, which)) / 4
        return total

    return loss


def sync_score(clips: Sequence[SyncClip]) -> Callable[[nn.Module], float]:
    """Mean log-probability, over whole clips of other people, of the clip's own offset among all lags."""

    def score(model: nn.Module) -> float:
        device = next(model.parameters()).device
        values = []
        for clip in clips:
            count = len(clip.lips)
            mel = resample(level_free(clip.mel), np.arange(STEPS * count) / STEPS)
            lips = clip.lips - clip.lips.mean(0)
            moved, heard = model(torch.from_numpy(lips)[None].to(device), torch.from_numpy(mel)[None].to(device))
            values.append(-lag_cross_entropy(moved, heard, torch.tensor([clip.offset], device=device)).item())
        return float(np.mean(values))

    return score


def lag_cross_entropy(lips: Tensor, sound: Tensor, shifts: Tensor) -> Tensor:
    """Cross-entropy of the lags' softmax against a bell of ``SPREAD`` frames about the shifts (B,)."""
    logits = SHARPNESS * lag_correlations(lips, sound, torch.ones_like(lips[:, :1]))
    lags = torch.arange(-SEARCH, SEARCH + 1, device=lips.device)
    bell = torch.softmax(-0.5 * ((lags - shifts[:, None]) / SPREAD) ** 2, 1)
    return F.cross_entropy(logits, bell)


def _unit(x: Tensor) -> Tensor:
    """(B, C, T) about the mean, as unit vectors (B, C T)."""
    return F.normalize((x - x.mean(-1, keepdim=True)).flatten(1), dim=1)


def sync_model(points: Array) -> SyncModel:
    """An untrained model that knows the mean face."""
    model = SyncModel()
    model.held_points.copy_(torch.from_numpy(points))
    return model
