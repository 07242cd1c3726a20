"""What recipes train on: clips of motion tokens and mel spectrogram at 25 fps, made of a dataset's tracked clips."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kptalk.errors import DatasetError
from kptalk.files import explain, write_bytes
from kptalk.types import Array

SHORTEST = 40  # frames of a clip; less than the denoiser can learn from
PACKED = ("tokens", "canonical", "mel")  # of a training clip, in a file


@dataclass(frozen=True)
class Inputs:
    """Training ``data`` (a dataset, or a file of packed clips), and the ``folder`` of the model so far.

    ``config`` names one of the recipe's, where it has several.
    """

    data: Path
    folder: Path
    seed: int
    device: str
    config: str = "embedded"


@dataclass(frozen=True)
class TrainingClip:
    """One clip: whose face, ``tokens`` (T, 70), ``canonical`` (70,) its first reference token, and ``mel`` (M, 80).

    For the denoiser also ``features``: (T, 512) float16 of the clean sound, and of augmented versions of it.
    """

    identity: str
    tokens: Array
    canonical: Array
    mel: Array
    features: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class SyncClip:
    """One clip: ``lips`` (T, 68), ``mel`` (M, 80), whose face, and the clip's own AV ``offset`` in frames."""

    lips: Array
    mel: Array
    identity: str
    offset: float = 0.0

    def __len__(self) -> int:
        return len(self.lips)


Clip = TypeVar("Clip", TrainingClip, SyncClip)


class _OfPerson(Protocol):
    @property
    def identity(self) -> str: ...


OfPerson = TypeVar("OfPerson", bound=_OfPerson)


def save_clips(clips: Sequence[TrainingClip], path: Path) -> None:
    """Pack clips into one small file of float16: all that the networks need, without the landmarks and the sound.

    Raises:
        OutputError: it cannot be written.
    """
    tensors = {
        f"{number}.{name}": np.ascontiguousarray(getattr(clip, name), np.float16)
        for number, clip in enumerate(clips)
        for name in PACKED
    }
    write_bytes(path, save(tensors, {"kptalk": "clips", "people": json.dumps([clip.identity for clip in clips])}))


def load_clips(path: Path) -> list[TrainingClip]:
    """Read clips that ``save_clips`` wrote.

    Raises:
        DatasetError: the file is absent, damaged or something else.
    """
    clips = []
    try:
        with safe_open(path, framework="numpy") as file:
            for number, identity in enumerate(json.loads((file.metadata() or {})["people"])):
                tensors = [file.get_tensor(f"{number}.{name}").astype(np.float32) for name in PACKED]
                clips.append(TrainingClip(identity, *tensors))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DatasetError(f"cannot read training clips {path}: {explain(error)}") from error
    return clips


def split_people(clips: Sequence[OfPerson], share: float = 0.1, seed: int = 0) -> tuple[list[OfPerson], list[OfPerson]]:
    """Clips to train on and, of other people, clips to choose the weights by.

    Raises:
        DatasetError: all clips are of one person.
    """
    people = sorted({clip.identity for clip in clips})
    np.random.default_rng(seed).shuffle(people)
    if len(people) < 2:
        raise DatasetError("training needs clips of at least two people, one of them to choose the weights by")
    held = set(people[: max(1, round(share * len(people)))])
    return [clip for clip in clips if clip.identity not in held], [clip for clip in clips if clip.identity in held]
