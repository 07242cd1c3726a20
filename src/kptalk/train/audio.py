"""Trains the audio encoder: what a face looks like while it says this.

The encoder sees one window of 0.2 s; a small head with more context reads the mouth off a row of its features. The
head is thrown away afterwards: the denoiser finds the context by self-attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.audio import mean_norm
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.train.data import TrainingClip, augment_mel, mel_windows
from kptalk.types import Array

WINDOW = 64  # frames in a training sequence
BATCH = 8
WIDTH = 192


class ExpressionHead(nn.Module):
    """Features (B, T, 512) to expression tokens (B, T, 63), with a context of 13 frames."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Dropout(dropout), nn.Linear(512, WIDTH), nn.GELU())
        self.context = nn.ModuleList(
            nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * d, dilation=d), nn.GELU(), nn.Dropout(0.1))
            for d in (1, 2)
        )
        self.out = nn.Linear(WIDTH, 63)

    def forward(self, features: Tensor) -> Tensor:
        x = self.project(features)
        for layer in self.context:
            x = x + layer(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.out(x)
        return out


class AudioTrainer(nn.Module):
    """Encoder and head together: windows (B, T, 80, 16) to expression tokens (B, T, 63)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = AudioEncoder()
        self.head = ExpressionHead()

    def forward(self, windows: Tensor) -> Tensor:
        batch, length = windows.shape[:2]
        with torch.autocast(windows.device.type, torch.bfloat16):
            features = self.encoder(windows.flatten(0, 1)).view(batch, length, -1)
            out: Tensor = self.head(features)
        return out.float()


def speech_mel_mean(clips: Sequence[TrainingClip]) -> Array:
    """Mean mel frame (80,) over the speech of the clips."""
    mel = np.concatenate([clip.mel for clip in clips])
    weight = mean_norm.speech_weight(mel)
    mean: Array = (weight @ mel / weight.sum()).astype(np.float32)
    return mean


class ClipSampler:
    """Draws training sequences: first a person, then one of the person's clips, then a place in it."""

    def __init__(self, clips: Sequence[TrainingClip], prior: Array, mirror: Array) -> None:
        self.clips, self.prior, self.mirror = clips, prior, mirror
        self.people: dict[str, list[TrainingClip]] = {}
        for clip in clips:
            self.people.setdefault(clip.identity, []).append(clip)
        self.names = sorted(self.people)

    def draw(self, rng: np.random.Generator, length: int) -> tuple[Array, Array, TrainingClip]:
        """Windows (T, 80, 16), tokens (T, 70), and the clip; level-normalised as the stream would do it.

        The sound is augmented, the speech tempo changed by up to 10 %, every second face mirrored. A clip that is too
        short repeats its last frame.
        """
        own = self.people[self.names[rng.integers(len(self.names))]]
        sizes = np.array([len(clip.tokens) for clip in own], float)
        clip = own[rng.choice(len(own), p=sizes / sizes.sum())]
        tempo = rng.uniform(0.9, 1.1)
        last = len(clip.tokens) - 1
        begin = rng.uniform(0, max(0.0, last - tempo * (length - 1)))
        frames = np.minimum(begin + tempo * np.arange(length), last)
        low = np.floor(frames).astype(int)
        share = (frames - low)[:, None].astype(np.float32)
        tokens = clip.tokens[low] * (1 - share) + clip.tokens[np.minimum(low + 1, last)] * share
        mel = augment_mel(clip.mel, rng)
        state = mean_norm.start(self.prior)
        history = int(rng.uniform(0, begin))
        if begin - history > 0:
            state = mean_norm.update(mel_windows(mel, np.arange(history, int(begin))), state)
        windows = mel_windows(mel, frames)
        windows = mean_norm.apply(windows, mean_norm.update(windows, state))
        if rng.random() < 0.5:
            tokens = tokens @ self.mirror
        return windows, tokens.astype(np.float32), clip


def whole_clip(clip: TrainingClip, prior: Array) -> Array:
    """Windows (T, 80, 16) of a whole clip, level-normalised in steps of 64 frames as the stream does it."""
    windows = mel_windows(clip.mel, np.arange(len(clip.tokens)))
    state, parts = mean_norm.start(prior), []
    for first in range(0, len(windows), WINDOW):
        part = windows[first : first + WINDOW]
        state = mean_norm.update(part, state)
        parts.append(mean_norm.apply(part, state))
    return np.concatenate(parts)


def audio_loss(
    sampler: ClipSampler, importance: Array, lips: Array
) -> Callable[[nn.Module, np.random.Generator], Tensor]:
    """Loss of a batch: squared error weighted by what each token moves, one minus the lip opening's correlation."""
    weight = torch.from_numpy(importance)
    opening = torch.from_numpy(lips)

    def loss(model: nn.Module, rng: np.random.Generator) -> Tensor:
        drawn = [sampler.draw(rng, WINDOW) for _ in range(BATCH)]
        device = next(model.parameters()).device
        windows = torch.from_numpy(np.stack([d[0] for d in drawn])).to(device)
        target = torch.from_numpy(np.stack([d[1] for d in drawn])).to(device)[..., 7:]
        out = model(windows)
        error = ((out - target) ** 2 * weight.to(device)).sum(-1).mean()
        lips = correlation(out @ opening.to(device), target @ opening.to(device)).mean()
        total: Tensor = error + 0.5 * (1 - lips)
        return total

    return loss


def audio_score(clips: Sequence[TrainingClip], prior: Array, lips: Array) -> Callable[[nn.Module], float]:
    """Mean correlation of the lip opening over clips of other people."""
    windows = [torch.from_numpy(whole_clip(clip, prior)) for clip in clips]
    target = [torch.from_numpy(clip.tokens[:, 7:] @ lips) for clip in clips]
    opening = torch.from_numpy(lips)

    def score(model: nn.Module) -> float:
        device = next(model.parameters()).device
        values = [
            correlation(model(w[None].to(device)).cpu() @ opening, t[None])
            for w, t in zip(windows, target, strict=True)
        ]
        return float(torch.cat(values).mean())

    return score


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation over the last axis."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    value: Tensor = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-6)
    return value
