"""Recipe of the audio encoder: what a face looks like while it says this.

The encoder sees one window of 0.2 s; a small head with more context predicts the mouth from a sequence of its
features. The head is thrown away afterwards: the denoiser finds the context by self-attention.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.motion.facemesh.generator import N_POSE
from kptalk.motion.generator import WINDOW
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.train.loop import Draw, LoopConfig, Loss, Score
from kptalk.train.sampler import ClipData, cut_sequence, mirror_tokens, window_order
from kptalk.types import Array
from kptalk.weights.store import save_model

LOOP = LoopConfig(steps=1600, batch=8, learning_rate=1e-3, ema=0.99, score_every=50)
Directions = Sequence[tuple[float, Array]]
WIDTH = 192


class AudioTrainer(nn.Module):
    """Encoder and head: windows (B, T, 80, 16) to expression tokens (B, T, 63), with a context of 13 frames."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = AudioEncoder()
        self.head = nn.ModuleDict()
        self.head["project"] = nn.Sequential(nn.Dropout(0.3), nn.Linear(512, WIDTH), nn.GELU())
        self.head["context"] = nn.ModuleList(
            nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * d, dilation=d), nn.GELU(), nn.Dropout(0.1))
            for d in (1, 2)
        )
        self.head["out"] = nn.Linear(WIDTH, 63)

    def forward(self, windows: Tensor) -> Tensor:
        batch, length = windows.shape[:2]
        x = self.head["project"](self.encoder(windows.flatten(0, 1)).view(batch, length, -1))
        for layer in self.head["context"].children():
            x = x + layer(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.head["out"](x)
        return out


def build(data: ClipData) -> AudioTrainer:
    """Encoder and head, untrained."""
    return AudioTrainer()


def loss(data: ClipData) -> Loss:
    """``expression_loss`` with the lip opening."""
    return expression_loss(data, [(0.5, data.space.lip_tokens())], lambda model, windows: model(windows))


def score(data: ClipData) -> Score:
    """Mean correlation of the lip opening over clips of other people."""
    correlations = lip_correlations(data)
    return lambda model: float(correlations(model).mean())


def save(path: Path, trained: AudioTrainer, data: ClipData) -> None:
    """Write the encoder with the mel mean, without the head."""
    header = {"speech_mel_mean": json.dumps([round(float(x), 4) for x in data.mel_mean])}
    save_model(path, trained.encoder, AudioEncoderConfig(), header, half=True)


def expression_loss(
    data: ClipData,
    directions: Sequence[tuple[float, Array]],
    predict: Callable[[nn.Module, Tensor], Tensor],
) -> Loss:
    """Squared error of a batch, weighted by what each token moves, plus weighted one minus correlations.

    Args:
        data: the clips.
        directions: weights, and measures (63,) that are linear in the expression tokens.
        predict: takes the network and windows (B, T, 80, 16) to tokens (..., B, T, 63).
    """
    order, mirror = window_order(data.clips, WINDOW), mirror_tokens(data.space)
    importance = torch.from_numpy(data.space.token_importance())

    def batch_loss(model: nn.Module, draw: Draw) -> Tensor:
        device, chosen = next(model.parameters()).device, [(order.clip(n), draw.rng_of(n)) for n in draw.numbers]
        drawn = [cut_sequence(data.clips[number], data.mel_mean, mirror, rng) for number, rng in chosen]
        windows, tokens = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*drawn, strict=True))
        with draw.autocast(device):
            out = predict(model, windows)
        out, target = out.float(), tokens[..., N_POSE:]
        total: Tensor = ((out - target) ** 2 * importance.to(device)).sum(-1).mean()
        for weight, direction in directions:
            measure = torch.from_numpy(direction).to(device)
            total = total + weight * (1 - correlation(out @ measure, target @ measure).mean())
        return total

    return batch_loss


def lip_correlations(data: ClipData) -> Callable[[nn.Module], Tensor]:
    """For a network, windows to expression tokens: correlation (n,) of the lip opening in each clip held out."""
    windows = [torch.from_numpy(data.speech_windows(clip)) for clip in data.held_out]
    opening = torch.from_numpy(data.space.lip_tokens())
    targets = [torch.from_numpy(clip.tokens[:, N_POSE:] @ data.space.lip_tokens()) for clip in data.held_out]

    def correlations(model: nn.Module) -> Tensor:
        device = next(model.parameters()).device
        outputs = [model(clip[None].to(device)).cpu() @ opening for clip in windows]
        return torch.cat([correlation(out, target[None]) for out, target in zip(outputs, targets, strict=True)])

    return correlations


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation over the last axis."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    value: Tensor = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-6)
    return value
