"""Trains the motion denoiser on frozen audio features (KDTalker, section 3.3): windows of 64 frames after one reference
frame.

The loss is the paper's, squared error of the predicted noise, with two weights. Each token counts by how far it moves
the mesh, since most of the 63 whitened coordinates are hardly visible. Each step counts by 1 / abar: where nearly all
is noise, a small error of epsilon is a large error of the motion, and these are the steps that decide what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.audio import mean_norm
from kptalk.errors import DatasetError
from kptalk.motion.diffusion import noise_loss, sample
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.noise_schedule import N_STEPS, alphas_cumprod
from kptalk.train.audio import correlation
from kptalk.train.data import TrainingClip, augment_mel, mel_windows
from kptalk.types import Array

BATCH = 24
POSE_WEIGHT = 0.03  # of each of the seven pose tokens; the 63 expression tokens share 1
FEATURE_NOISE = 0.7  # how often noise is added to the features of a batch (finding 15 of the reference)


class FeatureBank:
    """Audio features of every clip in several augmented versions, computed once: versions x (T, 512) float16."""

    def __init__(
        self, clips: Sequence[TrainingClip], encoder: AudioEncoder, prior: Array, versions: int, seed: int
    ) -> None:
        self.clips = clips
        self.features: list[list[Array]] = []
        for version in range(versions):
            row = []
            for index, clip in enumerate(clips):
                mel = clip.mel
                if version:  # the first is the clean sound
                    mel = augment_mel(mel, np.random.default_rng([seed, version, index]))
                row.append(encode_clip(encoder, clip, mel, prior))
            self.features.append(row)
        self.std = float(np.concatenate([f.astype(np.float32) for f in self.features[0]]).std())
        people: dict[str, list[int]] = {}
        for index, clip in enumerate(clips):
            people.setdefault(clip.identity, []).append(index)
        self.people = [people[name] for name in sorted(people)]

    def draw(self, rng: np.random.Generator, mirror: Array, length: int) -> tuple[Array, Array, Array]:
        """References (2, 70), frames (64, 70) and features (64, 512) of one window.

        Where a clip is shorter than the window, its motion and features continue with their last frame.
        """
        own = self.people[rng.integers(len(self.people))]
        sizes = np.array([len(self.clips[i].tokens) for i in own], float)
        index = own[rng.choice(len(own), p=sizes / sizes.sum())]
        clip = self.clips[index]
        features = self.features[rng.integers(len(self.features))][index]
        last = min(len(clip.tokens), len(features)) - 1
        first = int(rng.integers(0, max(1, last - length + 1)))
        frames = np.minimum(np.arange(first, first + length + 1), last)
        tokens, canonical = clip.tokens[frames], clip.canonical
        if rng.random() < 0.5:
            tokens = tokens @ mirror
        references = np.stack([canonical, tokens[0]])
        return references, tokens[1:], features[frames[1:]].astype(np.float32)


@torch.inference_mode()
def encode_clip(encoder: AudioEncoder, clip: TrainingClip, mel: Array, prior: Array) -> Array:
    """Features (T, 512) float16 of a clip's sound."""
    windows = mel_windows(mel, np.arange(len(clip.tokens)))
    windows = mean_norm.apply(windows, mean_norm.update(windows, mean_norm.start(prior)))
    device = next(encoder.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        features: Tensor = encoder(torch.from_numpy(windows).to(device))
    return features.float().cpu().numpy().astype(np.float16)


def motion_loss(
    bank: FeatureBank, mirror: Array, importance: Array
) -> Callable[[nn.Module, np.random.Generator], Tensor]:
    """Weighted squared error of the predicted noise on one batch of windows."""
    shares = np.concatenate([np.full(7, POSE_WEIGHT), importance])
    channels = torch.from_numpy((shares / shares.mean()).astype(np.float32))
    cumulative = alphas_cumprod()

    def loss(model: nn.Module, rng: np.random.Generator) -> Tensor:
        device = next(model.parameters()).device
        drawn = [bank.draw(rng, mirror, 64) for _ in range(BATCH)]
        references, frames, audio = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*drawn, strict=True))
        if rng.random() < FEATURE_NOISE:
            audio = audio + 0.3 * bank.std * torch.randn_like(audio)
        # The reference is a generated frame when windows are chained: not a perfect one.
        references[:, 1] += 0.1 * torch.randn_like(references[:, 1])
        t = torch.from_numpy(rng.integers(0, N_STEPS, BATCH)).to(device)
        weight = channels.to(device) / cumulative.to(device)[t, None, None]
        with torch.autocast(device.type, torch.bfloat16):
            return noise_loss(model, references, frames, audio, t, torch.randn_like(frames), weight)

    return loss


def motion_score(
    clips: Sequence[TrainingClip], encoder: AudioEncoder, prior: Array, lips: Array, steps: int = 4
) -> Callable[[nn.Module], float]:
    """Mean correlation of the lip opening of generated windows with the real one, on other people's clips.

    One window a clip, from its start, sampled with little noise on the expression.

    Raises:
        DatasetError: no clip is long enough.
    """
    chosen = [clip for clip in clips if len(clip.tokens) > 66]
    if not chosen:
        raise DatasetError("no clip of the people held out is longer than 66 frames: add longer clips of more people")
    features = [encode_clip(encoder, clip, clip.mel, prior).astype(np.float32)[1:65] for clip in chosen]
    audio = torch.from_numpy(np.stack(features))
    references = torch.from_numpy(np.stack([np.stack([c.canonical, c.tokens[0]]) for c in chosen]))
    target = torch.from_numpy(np.stack([c.tokens[1:65, 7:] @ lips for c in chosen]))
    opening = torch.from_numpy(lips)
    noise = 0.3 * torch.randn(len(chosen), 64, 70, generator=torch.Generator().manual_seed(0))

    def score(model: nn.Module) -> float:
        device = next(model.parameters()).device
        out = sample(model, references.to(device), audio.to(device), noise.to(device), steps).cpu()
        return float(correlation(out[..., 7:] @ opening, target).mean())

    return score


def compact_denoiser() -> Denoiser:
    """The denoiser of the embedded weights: the paper's, narrower and shallower."""
    return Denoiser(DenoiserConfig(dim=256, depth=4, heads=4, head_dim=64, rotary_dim=32, prediction="v"))
