"""Recipe of the sync model, which measures lip sync: by how much sound was shifted, and whose sound it is.

Videos come with AV offsets of their own; two frames are common. Before training, a ridge regression that has not seen
the person estimates each clip's; training removes it, so that zero is the offset of the average clip.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kptalk.audio.sync_mel import STEPS, level_free, resample
from kptalk.face.measures import lip_shape
from kptalk.face.topology import STABLE_POINTS
from kptalk.networks.sync import SEARCH, SyncModel, lag_correlations
from kptalk.train.data import Inputs, SyncClip, split_people
from kptalk.train.dataset import Dataset, TrackedClip
from kptalk.train.facemesh import fit_template
from kptalk.train.loop import Draw, LoopConfig, Loss, Score
from kptalk.train.sampler import PersonSampler, augment_mel, interpolate
from kptalk.train.sync_ridge import RidgeFit, ridge_curve
from kptalk.types import Array

LOOP = LoopConfig(steps=800, batch=24, learning_rate=2e-3, ema=0.99, tolerance=0.05)
WINDOW = 90  # frames in a training sequence
SHIFT = 10  # frames, largest artificial shift
SHORTEST = 50  # frames; shorter clips teach no lag
LARGEST_OWN = 4  # frames; a larger offset of a clip's own is an error of the ridge, prepared clips have none
SPREAD = 0.7  # frames, uncertainty of a clip's own offset
JITTER = 0.05  # of lip shapes: the tracker's noise
SHARPNESS = 20.0  # of the softmax over correlations


@dataclass(frozen=True)
class SyncData:
    """Clips to train on, clips of other people, and the mean face's stable points (44, 3), eyes 1 apart."""

    clips: list[SyncClip]
    held_out: list[SyncClip]
    stable_points: Array


def data(inputs: Inputs) -> SyncData:
    """Lip shapes and mel frames of a dataset's clips, with each one's own offset."""
    tracked = list(Dataset.open(inputs.data))
    points = fit_template([clip.landmarks for clip in tracked])[STABLE_POINTS].astype(np.float32)
    clips, held_out = split_people(estimate_offsets(sync_clips(tracked, points)))
    return SyncData(list(clips), list(held_out), points)


def sync_clips(tracked: Iterable[TrackedClip], stable_points: Array) -> list[SyncClip]:
    """Lip shapes and mel frames of clips, in step; clips too short to teach a lag are left out."""
    clips = []
    for clip in tracked:
        mel, count = clip.mel()
        lips = lip_shape(clip.landmarks, stable_points)[:count]
        if len(lips) >= SHORTEST:
            clips.append(SyncClip(lips, mel, clip.identity))
    return clips


def estimate_offsets(clips: Sequence[SyncClip]) -> list[SyncClip]:
    """The clips with their own AV offset, each estimated by a ridge on the other people."""
    fit = RidgeFit([clip.lips for clip in clips], [clip.mel for clip in clips], [clip.identity for clip in clips])
    weights = {person: fit.weights(without=person) for person in {clip.identity for clip in clips}}
    found = []
    for clip in clips:
        curve = ridge_curve(weights[clip.identity], clip.lips, clip.mel)
        offset = int(curve.argmax()) - SEARCH
        found.append(replace(clip, offset=float(offset) if abs(offset) <= LARGEST_OWN else 0.0))
    return found


def sequences(sampler: PersonSampler[SyncClip], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """One sequence each of up to ``count`` people, the sound shifted by a known number of frames.

    Returns:
        lips (B, T, 68), mel frames (B, 4 T, 80), and by how many frames the sound comes later, (B,) int64.
    """
    lips, sounds, shifts = zip(*(_cut(clip, rng) for clip in sampler.draw_people(rng, count)), strict=True)
    return torch.from_numpy(np.stack(lips)), torch.from_numpy(np.stack(sounds)), torch.tensor(shifts)


def _cut(clip: SyncClip, rng: np.random.Generator) -> tuple[Array, Array, int]:
    """One augmented sequence; the tempo changes by up to 10 %, a clip that is too short repeats its ends."""
    shift = int(rng.integers(-SHIFT, SHIFT + 1))
    tempo = rng.uniform(0.9, 1.1)
    last = len(clip) - 1
    low, high = max(0.0, tempo * shift), last - tempo * (WINDOW - 1) + min(0.0, tempo * shift)
    begin = rng.uniform(low, high) if high > low else max(0.0, (last - tempo * (WINDOW - 1)) / 2)
    frames = np.clip(begin + tempo * np.arange(WINDOW), 0, last)
    shape = interpolate(clip.lips.astype(np.float64), frames)
    shape = (shape - shape.mean(0)) * rng.uniform(0.7, 1.4) + rng.normal(0, JITTER, shape.shape)
    instants = begin + clip.offset + tempo * (np.arange(STEPS * WINDOW) / STEPS - shift)
    mel = resample(level_free(augment_mel(clip.mel, rng)), np.clip(instants, 0, last))
    return shape.astype(np.float32), mel, shift


def loss(data: SyncData) -> Loss:
    """Loss of a batch: cross-entropy of the shift among all lags, and of the own sound among the batch's (InfoNCE)."""
    sampler = PersonSampler(data.clips)

    def batch_loss(model: nn.Module, draw: Draw) -> Tensor:
        device = next(model.parameters()).device
        lips, sound, shifts = (part.to(device) for part in sequences(sampler, draw.rng, len(draw)))
        with draw.autocast(device):
            lips, sound = model(lips, sound)
        lips, sound = lips.float(), sound.float()
        own = lag_cross_entropy(lips, sound, shifts)
        inner = torch.arange(SHIFT, WINDOW - SHIFT, device=device)
        places = (inner + shifts[:, None])[:, None].expand(-1, sound.shape[1], -1)
        pairs = SHARPNESS * _unit(lips[..., inner]) @ _unit(sound.gather(2, places)).T
        which = torch.arange(len(pairs), device=device)
        total: Tensor = own + (F.cross_entropy(pairs, which) + F.cross_entropy(pairs.T, which)) / 4
        return total

    return batch_loss


def score(data: SyncData) -> Score:
    """Mean log-probability, over whole clips of other people, of the clip's own offset among all lags."""

    def held_out_score(model: nn.Module) -> float:
        device = next(model.parameters()).device
        values = []
        for clip in data.held_out:
            mel = resample(level_free(clip.mel), np.arange(STEPS * len(clip)) / STEPS)
            lips, sound = (torch.from_numpy(x)[None].to(device) for x in (clip.lips - clip.lips.mean(0), mel))
            lips, sound = model(lips, sound)
            values.append(-lag_cross_entropy(lips, sound, torch.tensor([clip.offset], device=device)).item())
        return float(np.mean(values))

    return held_out_score


def lag_cross_entropy(lips: Tensor, sound: Tensor, shifts: Tensor) -> Tensor:
    """Cross-entropy of the lags' softmax against a bell of ``SPREAD`` frames about the shifts (B,)."""
    logits = SHARPNESS * lag_correlations(lips, sound, torch.ones_like(lips[:, :1]))
    lags = torch.arange(-SEARCH, SEARCH + 1, device=lips.device)
    bell = torch.softmax(-0.5 * ((lags - shifts[:, None]) / SPREAD) ** 2, 1)
    return F.cross_entropy(logits, bell)


def _unit(x: Tensor) -> Tensor:
    """(B, C, T) about the mean, as unit vectors (B, C T)."""
    return F.normalize((x - x.mean(-1, keepdim=True)).flatten(1), dim=1)


def build(data: SyncData) -> SyncModel:
    """An untrained model that knows the mean face."""
    model = SyncModel()
    model.held_points.copy_(torch.from_numpy(data.stable_points))
    return model
