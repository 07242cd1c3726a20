"""Convolutions of maps that repeat themselves: the same numbers, computed once.

The decoder's guidance is a 64 x 64 map, enlarged to r times its size by repetition, and convolved there. All pixels of
an r x r cell see one of a few neighbourhoods, so every phase (position in the cell) is a convolution of the small map
with a smaller kernel, whose taps are sums of the large one's. A map with ``n`` distinct samples a cell (along each
axis) is stored with these alone, n x 64 wide, and a border of one zero.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Samples = tuple[int, ...]  # for each of the r positions of a cell, which of its n samples stands there
REPEATED = {1: (0,), 2: (0, 0), 4: (0, 0, 0, 0)}  # the enlarged guidance, by scale r
FILTERED = {1: (0,), 2: (0, 1), 4: (0, 1, 1, 2)}  # what a 3 x 3 convolution makes of it


class Phase(NamedTuple):
    """One phase of a convolution: where its kernel begins in the map with its border, and the kernel."""

    row: int
    column: int
    kernel: Tensor


def phase(weight: Tensor, row: int, column: int, samples: Samples) -> Phase:
    """The kernel that a pixel at ``row``, ``column`` of its cell (0 to r - 1) sees, on a map stored as ``samples``.

    ``weight`` (O, I, 3, 3) is that of the convolution of the large map.
    """
    (first_row, rows), (first_column, columns) = _taps(row, samples), _taps(column, samples)
    kernel = torch.einsum("oihw,ah,bw->oiab", weight, rows.to(weight), columns.to(weight))
    return Phase(first_row + 1, first_column + 1, kernel)


def convolve(columns: Sequence[Tensor], one: Phase, bias: Tensor, step: int, cells: int) -> Tensor:
    """One phase of the output, (1, O, cells, cells), of the ``columns`` of ``shifted`` with ``step`` samples a cell."""
    end = one.row + (cells - 1) * step + one.kernel.shape[2]
    return F.conv2d(columns[one.column][:, :, one.row : end], one.kernel, bias, step)[..., :cells]


def shifted(bordered: Tensor, count: int) -> list[Tensor]:
    """The map without its first 0, 1, ... columns, each contiguous: the convolution would copy it for every phase."""
    return [bordered[..., i:].contiguous(memory_format=torch.channels_last) for i in range(count)]


def at(x: Tensor, row: int, column: int, scale: int, cells: int) -> Tensor:
    """The pixels of one phase of a picture that is enlarged to ``scale`` x ``cells``; x may be smaller than that."""
    step = x.shape[2] // cells
    return x[:, :, row * step // scale :: step, column * step // scale :: step]


def _taps(position: int, samples: Samples) -> tuple[int, Tensor]:
    """First sample that a kernel at this position touches, counted from the cell's first; (taps, 3) which sums them."""
    scale, count = len(samples), max(samples) + 1
    touched = [divmod(position + offset, scale) for offset in (-1, 0, 1)]
    index = torch.tensor([cell * count + samples[place] for cell, place in touched])
    first = int(index[0])
    return first, F.one_hot(index - first).T.double()
