"""Recipe of the motion denoiser, on frozen audio features (KDTalker, section 3.3): windows of 64 frames after one
reference frame.

The loss is the paper's, squared error of the predicted noise, with two weights, which the config ``paper`` has not.
Each token counts by how far it moves the mesh, since most of the 63 whitened coordinates are hardly visible. Each step
counts by 1 / abar: where nearly all is noise, a small error of epsilon is a large error of the motion, and these are
the steps that decide what is said.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kptalk.audio import mean_norm
from kptalk.audio.windows import mel_windows
from kptalk.device import side_by_side
from kptalk.errors import DatasetError
from kptalk.motion.diffusion import noise_loss
from kptalk.motion.facemesh.generator import N_POSE, SamplerConfig
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import FPS
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.noise_schedule import N_STEPS, alphas_cumprod
from kptalk.train import lips
from kptalk.train.config import RecipeConfig
from kptalk.train.data import Inputs, TrainingClip
from kptalk.train.loop import Draw, LoopConfig, Loss, Score
from kptalk.train.sampler import ClipData, augment_mel, mirror_tokens, window_order
from kptalk.train.stream import Cache, WindowOrder
from kptalk.train.validation import sampled_score
from kptalk.types import Array
from kptalk.weights.store import load_model, save_model

Chosen = tuple[TrainingClip, NDArray[np.float16], np.random.Generator]
MEASURED, HEARD = 512, 16  # clips, at most, that the mean face and the spread of features are taken from
# Measured on the people held out. The lip ensemble's mouth has twice the spread of the denoiser's (lip_scale); that of
# both together is a third of the real one, for a mean lacks what the sound does not tell (mouth_gain). The pose's gains
# are for scale, yaw, pitch, roll and translation of a head that is drawn by diffusion.
SAMPLER = SamplerConfig(lip_share=0.7, lip_scale=0.45, mouth_gain=3.0, pose_gain=(1.7, 1.8, 2.0, 2.2, 2.0, 2.0, 1.7))


@dataclass(frozen=True)
class MotionConfig(RecipeConfig):
    """A denoiser of motion, and what it is trained with.

    Attributes:
        network: its architecture.
        weighted_tokens: whether a token counts by how far it moves the face; else all count alike.
        weighted_steps: whether a diffusion step counts by 1 / abar; else all count alike.
        pose_weight: of each of the seven pose tokens, where tokens are weighted; the expression's share 1.
        feature_noise: how often noise is added to the features of a sequence.
        feature_spread: of that noise, in standard deviations of the features.
        reference_noise: spread of the noise on the reference frame, which is a generated one when windows are chained.
        versions: of every clip's sound: clean, and augmented.
        mirror: how often a face is mirrored.
        canonical: whether the first reference token says what the face is; else it is zeros.
        balance: 0 draws clips by their length, 1 all people equally often.
        buffer: windows that are shuffled among themselves.
        cache: megabytes of clips and features that are kept in memory.
        score_steps: of the sampler, at every score.
    """

    network: DenoiserConfig
    weighted_tokens: bool = True
    weighted_steps: bool = True
    pose_weight: float = 0.03
    feature_noise: float = 0.7
    feature_spread: float = 0.3
    reference_noise: float = 0.1
    versions: int = 8
    mirror: float = 0.5
    canonical: bool = True
    balance: float = 1.0
    buffer: int = 8192
    cache: float = 4000.0
    score_steps: int = 4


SMOKE = DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, rotary_dim=8, prediction="v")
EMBEDDED = DenoiserConfig(dim=256, depth=4, heads=4, head_dim=64, rotary_dim=32, prediction="v")
# KDTalker's own numbers; how often it looks at its weights, and their moving average, are not stated.
PAPER_LOOP = LoopConfig(
    steps=500_000,
    batch=256,
    learning_rate=5.12e-4,
    betas=(0.95, 0.999),
    weight_decay=1e-6,
    warmup=2000,
    clip=50.0,
    ema=0.9999,
    score_every=2000,
)
SMOKE_LOOP = LoopConfig(steps=20, batch=2, learning_rate=1e-3, warmup=5, score_every=10, precision="float32")
CONFIGS = {
    "smoke": MotionConfig(SMOKE_LOOP, SMOKE, versions=2),
    "embedded": MotionConfig(
        LoopConfig(steps=4000, batch=24, learning_rate=6e-4, ema=0.999, score_every=250, tolerance=0.02), EMBEDDED
    ),
    "paper": MotionConfig(
        PAPER_LOOP,
        DenoiserConfig(),
        weighted_tokens=False,
        weighted_steps=False,
        feature_spread=1.0,
        reference_noise=0.0,
        versions=1,
        mirror=0.0,
        balance=0.0,
        score_steps=50,
    ),
}


class FeatureStore:
    """Audio features of clips by a frozen encoder: computed when they are wanted, kept as far as memory allows.

    Args:
        clips: whose sound it is.
        encoder: mel windows to features.
        mel_mean: see ``ClipData``.
        seed: of the augmentation.
        megabytes: that are kept.
    """

    def __init__(
        self, clips: Sequence[TrainingClip], encoder: AudioEncoder, mel_mean: Array, seed: int, megabytes: float
    ) -> None:
        self._clips, self._encoder, self._mel_mean, self._seed = clips, encoder, mel_mean, seed
        self._cache = Cache[tuple[int, int], NDArray[np.float16]](
            self._encoded, lambda made: made.nbytes, megabytes * 1e6
        )

    def __call__(self, number: int, version: int = 0) -> NDArray[np.float16]:
        """Features (T, 512) of clip ``number``: clean, or of an augmented version of its sound."""
        return self._cache[number, version]

    @torch.inference_mode()
    def _encoded(self, key: tuple[int, int]) -> NDArray[np.float16]:
        number, version = key
        clip, rng = self._clips[number], np.random.default_rng([self._seed, version, number])
        mel = augment_mel(clip.mel, rng) if version else clip.mel
        windows = mel_windows(mel, np.arange(len(clip)), FPS)
        windows = mean_norm.apply(windows, mean_norm.update(windows, mean_norm.start(self._mel_mean)))
        device = next(self._encoder.parameters()).device
        with torch.autocast(device.type, torch.bfloat16):
            features: Tensor = self._encoder(torch.from_numpy(windows).to(device))
        return features.float().cpu().numpy().astype(np.float16)


@dataclass(frozen=True)
class MotionData(ClipData):
    """Clips with their features, and the ``config`` of what is trained on them; held out are clips beyond a window."""

    config: MotionConfig
    encoder: AudioEncoder
    seed: int
    features: FeatureStore

    def some(self, most: int) -> range:
        """Numbers of up to so many clips, spread over all."""
        return range(0, len(self.clips), -(-len(self.clips) // most))


def data(inputs: Inputs, kind: type[FaceMeshSpace] = FaceMeshSpace) -> MotionData:
    """Clips, and features of them; held out, those that are longer than a window. ``kind`` of motion space."""
    config = inputs.config
    assert isinstance(config, MotionConfig)
    source, window = lips.data(inputs, kind), config.network.window
    long = [clip for clip in source.held_out if len(clip) > window + 2]
    if not long:
        raise DatasetError(
            f"no clip of the people held out is longer than {window + 2} frames: add longer clips of more people"
        )
    encoder = load_model(inputs.folder / "audio.safetensors", AudioEncoder, AudioEncoderConfig).to(inputs.device)
    store = FeatureStore(source.clips, encoder, source.mel_mean, inputs.seed, config.cache)
    return MotionData(source.space, source.clips, long, source.mel_mean, config, encoder, inputs.seed, store)


def build(data: MotionData) -> Denoiser:
    """The denoiser, untrained."""
    return Denoiser(data.config.network)


@dataclass(frozen=True)
class WindowSampler:
    """Draws training windows: which, the config's ``WindowOrder`` says; how, each window's own generator.

    With ``threads``, windows are cut side by side; NumPy lets go of the interpreter while it draws noise.
    """

    data: MotionData
    order: WindowOrder
    mirror: Array
    spread: float
    threads: ThreadPoolExecutor | None = None

    @classmethod
    def of(cls, data: MotionData) -> "WindowSampler":
        """The sampler of the clips; threads where a card computes meanwhile."""
        config, clips = data.config, data.clips
        order = window_order(clips, config.network.window, config.buffer, config.balance, data.seed)
        spread = np.concatenate([data.features(number).astype(np.float32) for number in data.some(HEARD)]).std()
        on_card = next(data.encoder.parameters()).device.type != "cpu"
        threads = ThreadPoolExecutor(side_by_side()) if on_card else None
        return cls(data, order, mirror_tokens(data.space), float(spread), threads)

    def batch(self, draw: Draw, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """References (B, 2, D), frames (B, W, D), features (B, W, 512), diffusion steps (B,), noise (B, W, D)."""
        chosen = [self._choose(number, draw.rng_of(number)) for number in draw.numbers]
        cut = self.threads.map(self._cut, chosen) if self.threads else map(self._cut, chosen)
        references, frames, audio, t, noise = (
            torch.from_numpy(np.stack(part)).to(device) for part in zip(*cut, strict=True)
        )
        return references, frames, audio, t, noise

    def _choose(
        self, number: int, rng: np.random.Generator
    ) -> tuple[TrainingClip, NDArray[np.float16], np.random.Generator]:
        """A window's clip, and the features (T, 512) of one version of its sound."""
        which = self.order.clip(number)
        version = int(rng.integers(self.data.config.versions))
        return self.data.clips[which], self.data.features(which, version), rng

    def _cut(
        self, chosen: tuple[TrainingClip, NDArray[np.float16], np.random.Generator]
    ) -> tuple[NDArray[np.generic], ...]:
        """The window of a clip; a short clip repeats its last frame."""
        config, (clip, features, rng) = self.data.config, chosen
        length, last = config.network.window, len(clip) - 1
        first = int(rng.integers(0, max(1, last - length + 1)))
        frames = np.minimum(np.arange(first, first + length + 1), last)
        tokens = clip.tokens[frames]
        if rng.random() < config.mirror:
            tokens = tokens @ self.mirror
        audio = features[frames[1:]].astype(np.float32)
        if rng.random() < config.feature_noise:
            noise = rng.standard_normal(audio.shape, np.float32)
            audio = audio + np.float32(config.feature_spread * self.spread) * noise
        before = tokens[0] + np.float32(config.reference_noise) * rng.standard_normal(tokens.shape[1], np.float32)
        canonical = clip.canonical if config.canonical else np.zeros_like(clip.canonical)
        t, noise = rng.integers(N_STEPS), rng.standard_normal(tokens[1:].shape, np.float32)
        return np.stack([canonical, before]), tokens[1:], audio, np.asarray(t), noise


def channel_weights(data: MotionData, importance: Array | None = None) -> Tensor:
    """How much each token counts, (D,), mean 1; ``importance`` is of the expression's, None for its share."""
    if not data.config.weighted_tokens:
        return torch.ones(N_POSE + len(data.space.token_scale))
    expression = data.space.token_importance() if importance is None else importance
    shares = np.concatenate([np.full(N_POSE, data.config.pose_weight), expression])
    return torch.from_numpy((shares / shares.mean()).astype(np.float32))


def loss(data: MotionData, importance: Array | None = None) -> Loss:
    """Weighted squared error of the predicted noise; ``importance`` see ``channel_weights``."""
    channels, cumulative, sampler = channel_weights(data, importance), alphas_cumprod(), WindowSampler.of(data)

    def batch_loss(model: nn.Module, draw: Draw) -> Tensor:
        device = next(model.parameters()).device
        references, frames, audio, t, noise = sampler.batch(draw, device)
        weight = channels.to(device).expand(len(t), 1, -1)
        if data.config.weighted_steps:
            weight = weight / cumulative.to(device)[t, None, None]
        with draw.autocast(device):
            return noise_loss(model, references, frames, audio, t, noise, weight)

    return batch_loss


def score(data: MotionData) -> Score:
    """What sampling gives for clips of other people, see ``sampled_score``."""
    config, encoder, held_out = data.config, data.encoder, data.held_out
    store = FeatureStore(held_out, encoder, data.mel_mean, data.seed, 0)
    features = [store(number)[1 : config.network.window + 1].astype(np.float32) for number in range(len(held_out))]
    return sampled_score(data.space, held_out, features, config.score_steps, config.canonical)


def save(path: Path, denoiser: Denoiser, data: MotionData, numbers: SamplerConfig = SAMPLER) -> None:
    """Write the denoiser with the ``numbers`` for sampling from it, and the clips' mean face."""
    mean = np.concatenate([data.clips[number].tokens[:, N_POSE:] for number in data.some(MEASURED)]).mean(0)
    sampler = replace(numbers, mean_expression=tuple(round(float(x), 4) for x in mean))
    save_model(path, denoiser, denoiser.config, {"sampler": json.dumps(asdict(sampler))}, half=True)
