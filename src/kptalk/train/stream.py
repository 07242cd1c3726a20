"""The order in which windows of clips are trained on, for data larger than memory, and a bounded cache of what is read.

The order of an epoch is that of the files, shuffled, and of the clips in them, shuffled, so that what is read once lies
together; the windows are then shuffled within buffers of so many. Which window a number means follows from the seed and
the number alone: to resume, or to share a training among processes, nothing need be stored or replayed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key")
Value = TypeVar("Value")


class WindowOrder:
    """Which clip each window of a training is from.

    Args:
        lengths: frames of every clip.
        people: who each clip shows.
        window: frames of a window.
        buffer: windows that are shuffled among themselves.
        balance: 0 gives every clip windows by its length; 1 every person equally many.
        seed: of the order.
        files: number of the file that each clip lies in; None where they all are in memory.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        people: Sequence[str],
        window: int,
        buffer: int,
        balance: float,
        seed: int,
        files: NDArray[np.int64] | None = None,
    ) -> None:
        _, of_person = np.unique(np.asarray(people), return_inverse=True)
        frames = np.asarray(lengths, np.float64)
        whole = np.bincount(of_person, frames)
        self._shares = frames * (whole.mean() / whole[of_person]) ** balance
        self.epoch_size = max(1, round(frames.sum() / window))
        self._buffer, self._seed = buffer, seed
        self._files = np.zeros(len(frames), np.int64) if files is None else files
        self._epoch = lru_cache(2)(self._draw_epoch)
        self._block = lru_cache(4)(self._draw_block)

    def clip(self, number: int) -> int:
        """Number of the clip that window ``number`` is from."""
        epoch, place = divmod(number, self.epoch_size)
        block, inner = divmod(place, self._buffer)
        return int(self._block(epoch, block)[inner])

    def _draw_epoch(self, epoch: int) -> NDArray[np.int64]:
        """The clips of an epoch's windows, those of a clip together: systematic sampling by the clips' shares."""
        rng = np.random.default_rng([self._seed, 2, epoch])
        rank = rng.permutation(self._files.max() + 1)
        order = np.lexsort((rng.random(len(self._files)), rank[self._files]))
        edges = np.cumsum(self._shares[order])
        places = (np.arange(self.epoch_size) + rng.random()) / self.epoch_size * edges[-1]
        return np.asarray(order[np.searchsorted(edges, places, side="right").clip(max=len(order) - 1)])

    def _draw_block(self, epoch: int, block: int) -> NDArray[np.int64]:
        clips = self._epoch(epoch)[block * self._buffer : (block + 1) * self._buffer]
        return np.asarray(np.random.default_rng([self._seed, 3, epoch, block]).permutation(clips))


class Cache(Generic[Key, Value]):
    """Values that were made lately, the oldest of which are forgotten.

    Args:
        make: gives the value of a key.
        size: of a value, in bytes.
        limit: bytes of all that are kept.
    """

    def __init__(self, make: Callable[[Key], Value], size: Callable[[Value], int], limit: float) -> None:
        self._make, self._size, self._limit = make, size, limit
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, key: Key) -> Value:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = self._kept[key] = self._make(key)
        self._bytes += self._size(value)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._size(self._kept.popitem(last=False)[1])
        return value
