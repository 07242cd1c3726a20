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
from kptalk.train.config import RecipeConfig
from kptalk.types import Array

SHORTEST = 40  # frames of a clip; less than the denoiser can learn from
MOST_HELD_OUT = 256  # clips that the weights are chosen by
PACKED = ("tokens", "canonical", "mel")  # of a training clip, in a file


@dataclass(frozen=True)
class Inputs:
    """Training ``data`` (a dataset, or a file of packed clips), and the ``folder`` of the model so far.

    ``config`` is what the recipe is trained with; None where it has none.
    """

    data: Path
    folder: Path
    seed: int
    device: str
    config: RecipeConfig | None = None


@dataclass(frozen=True)
class TrainingClip:
    """One clip: whose face, ``tokens`` (T, 70), ``canonical`` (70,) its first reference token, and ``mel`` (M, 80)."""

    identity: str
    tokens: Array
    canonical: Array
    mel: Array

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


def people_of(clips: Sequence[OfPerson]) -> Sequence[str]:
    """Whose face each clip shows; no clip is read."""
    people: Sequence[str] = getattr(clips, "people", None) or [clip.identity for clip in clips]
    return people


def lengths_of(clips: Sequence[Clip]) -> Sequence[int]:
    """Frames of each clip; no clip is read."""
    lengths: Sequence[int] = getattr(clips, "lengths", None) or [len(clip) for clip in clips]
    return lengths


def split_people(
    clips: Sequence[OfPerson], share: float = 0.1, seed: int = 0
) -> tuple[Sequence[OfPerson], Sequence[OfPerson]]:
    """Clips to train on and, of other people, up to ``MOST_HELD_OUT`` clips to choose the weights by; none is read.

    Raises:
        DatasetError: all clips are of one person.
    """
    identities = people_of(clips)
    people = sorted(set(identities))
    np.random.default_rng(seed).shuffle(people)
    if len(people) < 2:
        raise DatasetError("training needs clips of at least two people, one of them to choose the weights by")
    held = set(people[: max(1, round(share * len(people)))])
    chosen = [number for number, person in enumerate(identities) if person not in held]
    held_out = [number for number, person in enumerate(identities) if person in held]
    held_out = held_out[:: -(-len(held_out) // MOST_HELD_OUT)]
    subset = getattr(clips, "subset", None) or (lambda numbers: [clips[number] for number in numbers])
    return subset(chosen), subset(held_out)
