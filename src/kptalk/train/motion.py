"""Recipe of the motion denoiser, on frozen audio features (KDTalker, section 3.3): windows of 64 frames after one
reference frame.

The loss is the paper's, squared error of the predicted noise, with two weights. Each token counts by how far it moves
the mesh, since most of the 63 whitened coordinates are hardly visible. Each step counts by 1 / abar: where nearly all
is noise, a small error of epsilon is a large error of the motion, and these are the steps that decide what is said.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.audio import mean_norm
from kptalk.audio.windows import mel_windows
from kptalk.errors import DatasetError
from kptalk.motion.diffusion import noise_loss, sample
from kptalk.motion.facemesh.generator import N_POSE, SamplerConfig
from kptalk.motion.facemesh.space import N_TOKEN, FaceMeshSpace
from kptalk.motion.generator import FPS, WINDOW
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.noise_schedule import N_STEPS, alphas_cumprod
from kptalk.train import lips
from kptalk.train.audio import correlation
from kptalk.train.data import Inputs, TrainingClip
from kptalk.train.loop import LoopConfig, Loss, Score
from kptalk.train.sampler import ClipData, PersonSampler, augment_mel, mirror_tokens
from kptalk.types import Array
from kptalk.weights.store import load_model, save_model

LOOP = LoopConfig(steps=4000, learning_rate=6e-4, ema=0.999, score_every=250, tolerance=0.02)
BATCH = 24
CONFIG = DenoiserConfig(dim=256, depth=4, heads=4, head_dim=64, rotary_dim=32, prediction="v")
VERSIONS = 8  # of every clip's sound: clean, and augmented
POSE_WEIGHT = 0.03  # of each of the seven pose tokens; the 63 expression tokens share 1
FEATURE_NOISE = 0.7  # how often noise is added to the features of a batch (finding 15 of the reference)
SCORE_STEPS = 4  # of the sampler
# Measured on the people held out. The lip ensemble's mouth has twice the spread of the denoiser's (lip_scale); that of
# both together is a third of the real one, for a mean lacks what the sound does not tell (mouth_gain). The pose's gains
# are for scale, yaw, pitch, roll and translation of a head that is drawn by diffusion.
SAMPLER = SamplerConfig(lip_share=0.7, lip_scale=0.45, mouth_gain=3.0, pose_gain=(1.7, 1.8, 2.0, 2.2, 2.0, 2.0, 1.7))


def data(inputs: Inputs, kind: type[FaceMeshSpace] = FaceMeshSpace) -> ClipData:
    """Clips with their audio features; held out, those that are longer than a window. ``kind`` of motion space."""
    source = lips.data(inputs, kind)
    long = [clip for clip in source.held_out if len(clip) > WINDOW + 2]
    if not long:
        raise DatasetError("no clip of the people held out is longer than 66 frames: add longer clips of more people")
    encoder = load_model(inputs.folder / "audio.safetensors", AudioEncoder, AudioEncoderConfig).to(inputs.device)

    def encoded(clip: TrainingClip, *augmented: np.random.Generator) -> TrainingClip:
        mels = [clip.mel, *(augment_mel(clip.mel, rng) for rng in augmented)]
        return replace(clip, features=tuple(_features(encoder, mel, len(clip), source.mel_mean) for mel in mels))

    clips = [
        encoded(clip, *(np.random.default_rng([inputs.seed, version, index]) for version in range(1, VERSIONS)))
        for index, clip in enumerate(source.clips)
    ]
    return replace(source, clips=clips, held_out=[encoded(clip) for clip in long])


@torch.inference_mode()
def _features(encoder: AudioEncoder, mel: Array, count: int, mel_mean: Array) -> Array:
    """Features (T, 512) float16 of ``count`` video frames of mel (M, 80)."""
    windows = mel_windows(mel, np.arange(count), FPS)
    windows = mean_norm.apply(windows, mean_norm.update(windows, mean_norm.start(mel_mean)))
    device = next(encoder.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        features: Tensor = encoder(torch.from_numpy(windows).to(device))
    return features.float().cpu().numpy().astype(np.float16)


def build(data: ClipData) -> Denoiser:
    """The denoiser of the embedded weights, untrained: the paper's, narrower and shallower."""
    return Denoiser(CONFIG)


def loss(data: ClipData, importance: Array | None = None, batch: int | None = None) -> Loss:
    """Weighted squared error of the predicted noise on one batch of windows.

    Args:
        data: the clips.
        importance: of each expression token, (63,), sum 1; None for its share of the mesh's movement.
        batch: windows in a batch; None for ``BATCH``.
    """
    expression = data.space.token_importance() if importance is None else importance
    shares, count = np.concatenate([np.full(N_POSE, POSE_WEIGHT), expression]), batch or BATCH
    channels = torch.from_numpy((shares / shares.mean()).astype(np.float32))
    cumulative, mirror, sampler = alphas_cumprod(), mirror_tokens(data.space), PersonSampler(data.clips)
    spread = float(np.concatenate([clip.features[0].astype(np.float32) for clip in data.clips]).std())

    def batch_loss(model: nn.Module, rng: np.random.Generator) -> Tensor:
        device = next(model.parameters()).device
        windows = [_cut(sampler.draw(rng), mirror, rng) for _ in range(count)]
        references, frames, audio = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*windows, strict=True))
        if rng.random() < FEATURE_NOISE:
            audio = audio + 0.3 * spread * torch.randn_like(audio)
        # The reference is a generated frame when windows are chained: not a perfect one.
        references[:, 1] += 0.1 * torch.randn_like(references[:, 1])
        t = torch.from_numpy(rng.integers(0, N_STEPS, count)).to(device)
        weight = channels.to(device) / cumulative.to(device)[t, None, None]
        with torch.autocast(device.type, torch.bfloat16):
            return noise_loss(model, references, frames, audio, t, torch.randn_like(frames), weight)

    return batch_loss


def _cut(clip: TrainingClip, mirror: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """References (2, 70), frames (64, 70) and features (64, 512) of one window; a short clip repeats its last frame."""
    features = clip.features[rng.integers(len(clip.features))]
    last = len(clip) - 1
    first = int(rng.integers(0, max(1, last - WINDOW + 1)))
    frames = np.minimum(np.arange(first, first + WINDOW + 1), last)
    tokens = clip.tokens[frames]
    if rng.random() < 0.5:
        tokens = tokens @ mirror
    return np.stack([clip.canonical, tokens[0]]), tokens[1:], features[frames[1:]].astype(np.float32)


def score(data: ClipData) -> Score:
    """Mean correlation of the generated lip opening with the real one in the first windows of other people's clips."""
    clips, opening = data.held_out, data.space.lip_tokens()
    audio = torch.from_numpy(np.stack([clip.features[0][1 : WINDOW + 1].astype(np.float32) for clip in clips]))
    references = torch.from_numpy(np.stack([np.stack([clip.canonical, clip.tokens[0]]) for clip in clips]))
    target = torch.from_numpy(np.stack([clip.tokens[1 : WINDOW + 1, N_POSE:] @ opening for clip in clips]))
    noise = 0.3 * torch.randn(len(clips), WINDOW, N_TOKEN, generator=torch.Generator().manual_seed(0))

    def held_out_score(model: nn.Module) -> float:
        device = next(model.parameters()).device
        out = sample(model, references.to(device), audio.to(device), noise.to(device), SCORE_STEPS).cpu()
        return float(correlation(out[..., N_POSE:] @ torch.from_numpy(opening), target).mean())

    return held_out_score


def save(path: Path, denoiser: Denoiser, data: ClipData, numbers: SamplerConfig = SAMPLER) -> None:
    """Write the denoiser with the ``numbers`` for sampling from it, and the clips' mean face."""
    mean = np.concatenate([clip.tokens[:, N_POSE:] for clip in data.clips]).mean(0)
    sampler = replace(numbers, mean_expression=tuple(round(float(x), 4) for x in mean))
    save_model(path, denoiser, denoiser.config, {"sampler": json.dumps(asdict(sampler))}, half=True)
