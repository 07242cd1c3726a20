"""Batches of pictures for the networks that draw faces, and the picture sets that they come from."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kptalk.device import side_by_side
from kptalk.errors import DatasetError
from kptalk.face.measures import lip_gap
from kptalk.files import make_folder
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.render.latent.conditions import as_tensor
from kptalk.render.latent.landmark_maps import landmark_maps
from kptalk.train.data import Inputs, split_people
from kptalk.train.dataset import ClipEntry, Dataset
from kptalk.train.pictures import FRAMES_PER_SEQUENCE, PictureSet, make_pictures

OPEN_GAP = 0.2  # lip gap in mouth widths of an open mouth, of which there are few
CLIPS_PER_PROCESS = 8  # a process takes as long to start as this many clips are worth


@dataclass(frozen=True)
class Batch:
    """Sequences as tensors: frames and reference -1 to 1, maps 0 to 1, mel windows."""

    real: Tensor  # (B, F, 3, S, S)
    warped: Tensor  # (B, F, 3, S, S)
    maps: Tensor  # (B, F, 5, S, S)
    reference: Tensor  # (B, 3, S, S)
    reference_maps: Tensor  # (B, 5, S, S)
    mels: Tensor  # (B, F, 1280)

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})


@dataclass(frozen=True)
class PictureData:
    """Picture sets to train on and of people held out, and what of them a network gets.

    The switches are for ablations: without ``landmarks`` the network gets sound, and neither maps nor the warped photo;
    without ``warp`` the photo itself in the place of the warped one; without ``temporal`` no layers over frames.
    """

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
            counts[each.identity] ** -0.7 * (1 + 3 * (lip_gap(each.points).max(1) > OPEN_GAP)) for each in self.sets
        ]
        every = np.concatenate(weights)
        object.__setattr__(self, "weights", every / every.sum())
        places = [(number, k) for number, each in enumerate(self.sets) for k in range(len(each.real))]
        object.__setattr__(self, "places", np.array(places))

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """A batch of ``count`` sequences, augmented."""
        chosen = self.places[rng.choice(len(self.places), count, p=self.weights)]
        return augment(batch([(self.sets[number], k) for number, k in chosen]), rng)

    def held_out_sequences(self, most: int) -> list[tuple[PictureSet, int]]:
        """Up to ``most`` sequences of the people held out, always the same."""
        places = [(each, k) for each in self.held_out for k in range(len(each.real))]
        rng = np.random.default_rng(0)
        return [places[i] for i in rng.choice(len(places), min(most, len(places)), replace=False)]


def open_pictures(
    inputs: Inputs, size: int, every: float = FRAMES_PER_SEQUENCE
) -> tuple[list[PictureSet], list[PictureSet]]:
    """Picture sets of the dataset's videos, to train on and of people held out.

    They are made where the folder ``pictures-SIZE`` beside the model does not have them yet, in processes of their own
    where they are many. Clips whose video cannot be read any more are named in a warning.

    Args:
        inputs: of the recipe; ``data`` is a dataset.
        size: side of the squares, in their own pixels.
        every: frames of a clip per sequence, on average.

    Raises:
        DatasetError: there is no dataset, a file is damaged, no video is left, or all are of one person.
    """
    if inputs.data.is_file():
        raise DatasetError(f"{inputs.data} holds packed clips without videos: give the dataset")
    folder, dataset = inputs.folder / f"pictures-{size}", Dataset.open(inputs.data)
    make_folder(folder)
    missing = [entry for entry in dataset.clips if not _set_file(folder, entry).exists()]
    make = partial(_make_set, inputs.folder / "facemesh.safetensors", folder, size, every, dataset)
    workers = min(side_by_side(), len(missing) // CLIPS_PER_PROCESS)
    if workers > 1:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
            reasons = list(pool.map(make, missing))
    else:
        reasons = [make(entry) for entry in missing]
    if left_out := [reason for reason in reasons if reason]:
        warnings.warn("; ".join(left_out), stacklevel=2)
    sets = [PictureSet.load(path) for entry in dataset.clips if (path := _set_file(folder, entry)).exists()]
    if not sets:
        raise DatasetError(f"no video of {inputs.data} is left to take pictures of")
    if wrong := {found.real.shape[2] for found in sets} - {size}:
        raise DatasetError(f"{folder} holds squares of {wrong.pop()} pixels: delete it, it is made anew")
    chosen, held_out = split_people(sets)
    return list(chosen), list(held_out)


def _set_file(folder: Path, entry: ClipEntry) -> Path:
    return folder / f"{entry.name.replace('/', '~')}.safetensors"


def _make_set(space: Path, folder: Path, size: int, every: float, dataset: Dataset, entry: ClipEntry) -> str | None:
    """Make the pictures of one clip; why there are none, where its video cannot be used."""
    clip = dataset.load(entry)
    rng = np.random.default_rng(crc32(entry.name.encode()))  # the same whichever others there are
    try:
        pictures = make_pictures(clip, FaceMeshSpace.load(space), size, rng, every)
    except DatasetError as error:
        return str(error)
    pictures.save(_set_file(folder, entry))
    return None


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


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
