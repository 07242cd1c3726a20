"""A dataset's clips as tokens of a motion space: made once, in files beside the model, and read when they are wanted.

Every shard of the dataset has a file of its own here, of float16, so that a set larger than memory, or made by several
processes, is no different from a small one. What is in memory is a table of whose clip is where, and the clips that
were read lately.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kptalk.device import side_by_side
from kptalk.errors import DatasetError
from kptalk.files import explain, make_folder, sha256, write_bytes
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.train.data import PACKED, Inputs, TrainingClip
from kptalk.train.dataset import INDEX, Dataset, shard_name
from kptalk.train.facemesh import training_clip
from kptalk.train.lag import in_step, load_judge
from kptalk.train.stream import Cache

MEGABYTES = 4000.0  # of clips that are kept in memory
OPEN_SHARDS = 32  # at once
SHARDS_PER_PROCESS = 2  # a process takes as long to start as about this many shards are worth


class TokenClips(Sequence[TrainingClip]):
    """Clips that lie in token files, each read when it is asked for.

    Attributes:
        people: whose face each shows.
        lengths: frames of each.
        shards: number of the file of each.
    """

    def __init__(
        self, paths: Sequence[Path], places: np.ndarray, people: Sequence[str], lengths: Sequence[int], megabytes: float
    ) -> None:
        self.people, self.lengths, self.shards = people, lengths, places[:, 0]
        self._paths, self._places, self._megabytes = paths, places, megabytes
        self._files: OrderedDict[int, Any] = OrderedDict()
        self._cache = Cache(self._read, lambda clip: clip.tokens.nbytes + clip.mel.nbytes, megabytes * 1e6)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> TrainingClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingClip]: ...
    def __getitem__(self, index: int | slice) -> TrainingClip | list[TrainingClip]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._cache[range(len(self))[index]]

    def subset(self, numbers: Sequence[int]) -> TokenClips:
        """Some of the clips."""
        people, lengths = [self.people[number] for number in numbers], [self.lengths[number] for number in numbers]
        return TokenClips(self._paths, self._places[np.asarray(numbers, np.int64)], people, lengths, self._megabytes)

    def _read(self, number: int) -> TrainingClip:
        shard, position = self._places[number].tolist()
        try:
            if shard not in self._files:
                if len(self._files) >= OPEN_SHARDS:
                    self._files.popitem(last=False)
                self._files[shard] = safe_open(self._paths[shard], framework="numpy")
            self._files.move_to_end(shard)
            tensors = [self._files[shard].get_tensor(f"{position}.{name}").astype(np.float32) for name in PACKED]
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"cannot read clips {self._paths[shard]}: {explain(error)}; delete it") from error
        return TrainingClip(self.people[number], *tensors)


def open_tokens(inputs: Inputs, kind: type[FaceMeshSpace], megabytes: float = MEGABYTES) -> TokenClips:
    """The clips of the dataset ``inputs.data`` as tokens of the folder's motion space, made where they are not yet.

    They lie in ``inputs.folder``; in several processes where the shards are many.

    Raises:
        DatasetError: the dataset cannot be read.
        OutputError: a file cannot be written.
    """
    dataset, space = Dataset.open(inputs.data), inputs.folder / "facemesh.safetensors"
    source = f"{sha256(space)} {sha256(inputs.data / INDEX, DatasetError)}"
    folder = inputs.folder / f"tokens-{kind.id}"
    make_folder(folder)
    shards = np.unique(dataset.clips.shard).tolist()
    missing = [shard for shard in shards if _head(folder / shard_name(shard)).get("source") != source]
    write = partial(_write_tokens, space, kind, dataset, folder, source)
    workers = min(side_by_side(), len(missing) // SHARDS_PER_PROCESS)
    if workers > 1:
        with ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            list(pool.map(write, missing))
    else:
        for shard in missing:
            write(shard)
    return read_tokens([folder / shard_name(shard) for shard in shards], megabytes)


def read_tokens(paths: Sequence[Path], megabytes: float = MEGABYTES) -> TokenClips:
    """The clips of token files, of which only the headers are read."""
    heads = [_head(path) for path in paths]
    counts = [len(head["people"]) for head in heads]
    places = np.column_stack(
        [np.repeat(np.arange(len(paths)), counts), np.concatenate([np.arange(count) for count in counts])]
    )
    people = [person for head in heads for person in head["people"]]
    lengths = [length for head in heads for length in head["lengths"]]
    return TokenClips(paths, places, people, lengths, megabytes)


def token_bytes(clips: Sequence[TrainingClip], source: str = "") -> bytes:
    """The content of a token file."""
    tensors = {
        f"{position}.{name}": np.ascontiguousarray(getattr(clip, name), np.float16)
        for position, clip in enumerate(clips)
        for name in PACKED
    }
    head = {"source": source, "people": [clip.identity for clip in clips], "lengths": [len(clip) for clip in clips]}
    return save(tensors, {"kptalk": json.dumps(head)})


def _head(path: Path) -> dict[str, Any]:
    """What a token file says of itself; nothing where it is absent or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            head: dict[str, Any] = json.loads((file.metadata() or {})["kptalk"])
            return head
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}


def _write_tokens(
    space: Path, kind: type[FaceMeshSpace], dataset: Dataset, folder: Path, source: str, shard: int
) -> None:
    motion_space, judge = kind.load(space), load_judge()
    first, last = np.searchsorted(dataset.clips.shard, [shard, shard + 1]).tolist()
    clips = (dataset.load(entry) for entry in dataset.clips[first:last])
    made = [training_clip(motion_space, in_step(clip, judge)) for clip in clips]
    write_bytes(folder / shard_name(shard), token_bytes(made, source))
