"""Recipe of the frame denoiser (L2V): squares of videos from landmarks, the warped photo and noise.

The network predicts the clean frames. The loss is their absolute difference and that of their gradients, more of it at
lips and eyes and most between the lips, and how frames differ from their neighbours; in the second half of the training
also a critic's, which looks at the mouth alone: a mean of teeth is blurred, and only a critic minds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.errors import DatasetError
from kptalk.networks.frame_unet import FrameUNet, FrameUNetConfig, PatchCritic
from kptalk.networks.noise_schedule import N_STEPS, add_noise
from kptalk.render.latent.conditions import MAPS, as_tensor, conditions, without_mouth
from kptalk.render.latent.landmark_maps import landmark_maps
from kptalk.render.latent.sampler import sample_frames
from kptalk.train.loop import LoopConfig
from kptalk.train.pictures import PictureSet, gaps

LOOP = LoopConfig(steps=9000, learning_rate=4e-4, weight_decay=0.01, ema=0.998, score_every=250, tolerance=1.0)
BATCH = 4  # sequences
CRITIC_FROM, CRITIC_RAMP = 3500, 500  # steps without a critic, and over which it gets its weight
CRITIC_WEIGHT, FEATURE_WEIGHT = 0.06, 4.0
MOUTH = (slice(54, 118), slice(28, 100))  # rows and columns of the square that the critic sees, of 128
FROM_NOISE = 0.4  # share of the sequences that start from pure noise, as sampling does
UNGUIDED = 0.1  # share of the sequences without landmarks, for classifier-free guidance
OPEN_GAP = 0.2  # lip gap in mouth widths of an open mouth, of which there are few
SCORE_SEQUENCES, SCORE_STEPS = 40, 2


@dataclass(frozen=True)
class Batch:
    """Sequences as tensors: frames and reference -1 to 1, maps 0 to 1, mel windows."""

    real: Tensor  # (B, F, 3, S, S)
    warped: Tensor  # (B, F, 3, S, S)
    maps: Tensor  # (B, F, 5, S, S)
    reference: Tensor  # (B, 3, S, S)
    reference_maps: Tensor  # (B, 5, S, S)
    mels: Tensor  # (B, F, 1280)


@dataclass(frozen=True)
class PictureData:
    """Picture sets to train on and of people held out; what the network gets of them."""

    sets: list[PictureSet]
    held_out: list[PictureSet]
    landmarks: bool = True
    warp: bool = True
    temporal: bool = True
    weights: np.ndarray = field(init=False)  # of all sequences, by how often they are drawn
    places: np.ndarray = field(init=False)  # (n, 2) of all sequences: number of the set, number in it

    def __post_init__(self) -> None:
        people = [each.identity for each in self.sets]
        counts = {person: sum(len(e.real) for e in self.sets if e.identity == person) for person in set(people)}
        weights = [
            counts[each.identity] ** -0.7 * (1 + 3 * (gaps(each.points).max(1) > OPEN_GAP)) for each in self.sets
        ]
        every = np.concatenate(weights)
        object.__setattr__(self, "weights", every / every.sum())
        places = [(number, k) for number, each in enumerate(self.sets) for k in range(len(each.real))]
        object.__setattr__(self, "places", np.array(places))

    def draw(self, rng: np.random.Generator) -> Batch:
        """A batch of sequences, augmented."""
        chosen = self.places[rng.choice(len(self.places), BATCH, p=self.weights)]
        return augment(batch([(self.sets[number], k) for number, k in chosen]), rng)


def batch(sequences: Sequence[tuple[PictureSet, int]]) -> Batch:
    """Sequences of picture sets as tensors."""
    size = sequences[0][0].real.shape[2]
    own = [each.reference[k] for each, k in sequences]

    def maps(points: np.ndarray) -> Tensor:
        shape = points.shape[:-2]
        drawn = [landmark_maps(one, size) for one in points.reshape(-1, *points.shape[-2:]).astype(np.float32)]
        return as_tensor(np.stack(drawn).reshape(*shape, size, size, -1))

    return Batch(
        real=2 * as_tensor(np.stack([each.real[k] for each, k in sequences])) - 1,
        warped=2 * as_tensor(np.stack([each.warped[k] for each, k in sequences])) - 1,
        maps=maps(np.stack([each.points[k] for each, k in sequences])),
        reference=2 * as_tensor(np.stack([e.references[r] for (e, _), r in zip(sequences, own, strict=True)])) - 1,
        reference_maps=maps(np.stack([e.reference_points[r] for (e, _), r in zip(sequences, own, strict=True)])),
        mels=torch.from_numpy(np.stack([each.mels[k] for each, k in sequences])).float().flatten(2),
    )


def augment(b: Batch, rng: np.random.Generator) -> Batch:
    """Mirror, recolour and blur whole sequences with their references: paintings and old photos are portraits too."""
    count, frames = b.real.shape[:2]
    pictures = torch.cat([b.real, b.warped, b.reference[:, None]], 1) / 2 + 0.5
    maps = torch.cat([b.maps, b.reference_maps[:, None]], 1)
    mirror = torch.from_numpy(rng.random(count) < 0.5)
    pictures[mirror], maps[mirror] = pictures[mirror].flip(-1), maps[mirror].flip(-1)

    def normal(spread: float, channels: float) -> Tensor:
        strong = 1 + 2 * (rng.random((count, 1, 1, 1, 1)) < 0.15)  # now and then a strong cast
        drawn = rng.normal(0, spread, (count, 1, 1, 1, 1)) + strong * rng.normal(0, channels, (count, 1, 3, 1, 1))
        return torch.from_numpy(np.exp(drawn)).float()

    pictures = (pictures.clamp(min=1e-4) ** normal(0.15, 0.04) * normal(0.08, 0.04)).clamp(0, 1)
    colour = np.where(rng.random((count, 1, 1, 1, 1)) < 0.2, rng.random((count, 1, 1, 1, 1)), 1.0)
    grey = pictures.mean(2, keepdim=True)
    pictures = grey + torch.from_numpy(colour).float() * (pictures - grey)
    soft = torch.from_numpy(rng.random(count) < 0.15)
    if soft.any():
        some = pictures[soft]
        pictures[soft] = F.avg_pool2d(some.flatten(0, 1), 3, 1, 1, count_include_pad=False).reshape(some.shape)
    pictures = 2 * pictures - 1
    real, warped, reference = pictures[:, :frames], pictures[:, frames : 2 * frames], pictures[:, -1]
    return Batch(real, warped, maps[:, :frames], reference, maps[:, -1], b.mels)


def inputs_of(b: Batch, data: PictureData) -> tuple[Tensor, Tensor, Tensor | None]:
    """Base, condition and sound of a batch, as the network is given them."""
    warped = b.warped if data.warp and data.landmarks else b.reference[:, None].expand_as(b.warped)
    base = without_mouth(warped, b.maps[:, :, :1]) if data.landmarks else warped
    condition = conditions(base, b.maps if data.landmarks else torch.zeros_like(b.maps), b.reference, b.reference_maps)
    return base, condition, None if data.landmarks else b.mels


class FrameTraining(nn.Module):
    """The network, the critic and how many batches they have seen."""

    batches: Tensor

    def __init__(self, config: FrameUNetConfig) -> None:
        super().__init__()
        self.network, self.critic = FrameUNet(config), PatchCritic()
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def loss(self, b: Batch, data: PictureData, rng: np.random.Generator) -> Tensor:
        """The loss of one batch."""
        self.batches += 1
        base, condition, audio = inputs_of(b, data)
        count = len(base)
        unguided = torch.from_numpy(rng.random(count) < UNGUIDED)
        condition[unguided, :, MAPS] = 0
        spread = (rng.permutation(count) + rng.random(count)) / count
        t = torch.from_numpy(np.where(rng.random(count) < FROM_NOISE, N_STEPS - 1, (N_STEPS * spread).astype(int)))
        start = torch.where((t == N_STEPS - 1).view(-1, 1, 1, 1, 1), base, b.real)
        x = add_noise(start, torch.randn_like(base[:, :1]).expand_as(base), t)
        with torch.autocast(base.device.type, torch.bfloat16):
            drawn = base + self.network(x, t, condition, audio)
        weight = loss_weight(b.maps)
        loss = _weighted((drawn - b.real).abs(), weight)
        for axis in (-1, -2):
            loss = loss + _weighted((drawn.diff(dim=axis) - b.real.diff(dim=axis)).abs(), weight)
        loss = loss + 0.5 * _weighted((drawn.diff(dim=1) - b.real.diff(dim=1)).abs(), weight)
        ramp = (int(self.batches) - CRITIC_FROM) / CRITIC_RAMP
        return loss + self._critic(drawn, b, min(1.0, ramp)) if ramp > 0 else loss

    def _critic(self, drawn: Tensor, b: Batch, share: float) -> Tensor:
        """The critic's own loss, and what it finds wrong in the drawn frames."""
        inside = b.maps[:, :, :1]

        def mouths(frames: Tensor) -> Tensor:
            return torch.cat([frames, inside], 2).flatten(0, 1)[..., MOUTH[0], MOUTH[1]]

        with torch.autocast(drawn.device.type, torch.bfloat16):
            real_score, real_features = self.critic(mouths(b.real))
            drawn_score, _ = self.critic(mouths(drawn.detach()))
            own = F.relu(1 - real_score).mean() + F.relu(1 + drawn_score).mean()
            self.critic.requires_grad_(False)
            score, features = self.critic(mouths(drawn))
            self.critic.requires_grad_(True)
        match = sum((a - wanted.detach()).abs().mean() for a, wanted in zip(features, real_features, strict=True))
        critic: Tensor = own + share * CRITIC_WEIGHT * (FEATURE_WEIGHT * match - score.mean())
        return critic


def loss_weight(maps: Tensor) -> Tensor:
    """(B, F, 1, S, S): 1, more around the eyes and lips, most between the lips."""
    flat = maps.flatten(0, 1)
    lips, eyes = F.max_pool2d(flat[:, 1:2], 9, 1, 4), F.max_pool2d(flat[:, 3:4], 7, 1, 3)
    weight = 1 + 3 * lips + 2 * eyes + 4 * flat[:, :1]
    return weight.reshape(*maps.shape[:2], *weight.shape[1:])


def _weighted(error: Tensor, weight: Tensor) -> Tensor:
    part = weight[:, : error.shape[1], :, : error.shape[-2], : error.shape[-1]]
    mean: Tensor = (error * part).mean() / weight.mean()
    return mean


def score(model: FrameTraining, data: PictureData) -> dict[str, float]:
    """PSNR and sharpness of drawn mouths of people held out, between the lips and around them."""
    rng = np.random.default_rng(0)
    places = [(each, k) for each in data.held_out for k in range(len(each.real))]
    chosen = [places[i] for i in rng.choice(len(places), min(SCORE_SEQUENCES, len(places)), replace=False)]
    noise = torch.randn(1, 1, 3, *chosen[0][0].real.shape[2:4], generator=torch.Generator().manual_seed(0))
    rows: dict[str, list[float]] = {"inside": [], "mouth": [], "sharpness": [], "inside_mesh": [], "mouth_mesh": []}
    for first in range(0, len(chosen), BATCH):
        b = batch(chosen[first : first + BATCH])
        base, condition, audio = inputs_of(b, data)
        with torch.autocast("cpu", torch.bfloat16):
            drawn = sample_frames(model.network, condition, base, noise, SCORE_STEPS, audio=audio)
        for real, ours, mesh, maps in zip(
            b.real.flatten(0, 1), drawn.flatten(0, 1), b.warped.flatten(0, 1), b.maps.flatten(0, 1), strict=True
        ):
            inner, lips = maps[0] > 0.5, F.max_pool2d(maps[1:2], 13, 1, 6)[0] > 0.5
            rows["mouth"].append(_psnr(ours, real, lips))
            rows["mouth_mesh"].append(_psnr(mesh, real, lips))
            if inner.sum() > 80:
                rows["inside"].append(_psnr(ours, real, inner))
                rows["inside_mesh"].append(_psnr(mesh, real, inner))
                rows["sharpness"].append(float(_energy(ours, inner) / _energy(real, inner).clamp(min=1e-4)))
    return {name: float(np.median(v) if name == "sharpness" else np.mean(v)) for name, v in rows.items()}


def _psnr(a: Tensor, b: Tensor, where: Tensor) -> float:
    return float(-10 * torch.log10((((a - b) / 2) ** 2)[:, where].mean().clamp(min=1e-6)))


def _energy(picture: Tensor, where: Tensor) -> Tensor:
    """Energy of the gradient within a mask."""
    grey = picture.mean(0)
    energy = grey.diff(dim=0)[:, :-1] ** 2 + grey.diff(dim=1)[:-1] ** 2
    return energy[where[:-1, :-1]].sum()


def load_pictures(folders: Sequence[Path]) -> list[PictureSet]:
    """All picture sets of some folders.

    Raises:
        DatasetError: there are none, or one cannot be read.
    """
    sets = [PictureSet.load(path) for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    if not sets:
        raise DatasetError(f"no pictures in {', '.join(map(str, folders))}")
    return sets
