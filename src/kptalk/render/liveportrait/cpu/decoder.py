"""The decoder, faster on a CPU: the same picture from fewer operations, in bfloat16 where the processor has it.

What is exact: the guidance is never enlarged (``phases``), the modulation of all blocks comes from few convolutions,
and where a modulated shortcut goes straight into a 1 x 1 convolution, its shift is that convolution's already. The
many convolutions of the small blocks are Winograd's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.spade import SLOPE, Spade, SpadeBlock, SpadeDecoder
from kptalk.render.liveportrait.cpu import phases
from kptalk.render.liveportrait.cpu.convolution import Conv, WinogradConv, weight_and_bias

EPS = 1e-5  # of instance normalisation
LAST = torch.channels_last


class FastDecoder:
    """Same input and output as ``SpadeDecoder``, whose weights are copied; ``dtype`` is that of weights and features.

    bfloat16 halves the time where the processor has instructions for it.
    """

    def __init__(self, decoder: SpadeDecoder, dtype: torch.dtype) -> None:
        self.dtype = dtype
        config = decoder.config
        middle = [decoder.get_submodule(f"G_middle_{i}") for i in range(config.middle_blocks)]
        self.first = Conv(*weight_and_bias(decoder.fc), dtype)
        stages = (1, middle), (2, [decoder.up_0]), (4, [decoder.up_1])
        self.stages = [_Stage(cast(list[SpadeBlock], blocks), scale, dtype) for scale, blocks in stages]
        self.last = Conv(*weight_and_bias(decoder.conv_img[0]), dtype)
        self.shuffle = nn.PixelShuffle(config.upscale)

    @torch.inference_mode()
    def __call__(self, features: Tensor) -> Tensor:
        """(B, 256, 64, 64) -> RGB (B, 3, 512, 512) float32 from 0 to 1."""
        # One at a time: a frame's maps just fit the processor's cache, and batches gain nothing.
        return torch.cat([self._decode(frame[None]) for frame in features])

    def _decode(self, features: Tensor) -> Tensor:
        guidance = features.to(self.dtype, memory_format=LAST)
        x = self.first(guidance)
        columns = phases.shifted(F.pad(guidance, (1, 1, 1, 1)), 2)
        for stage in self.stages:
            x = stage(x, columns)
        picture = self.last(F.leaky_relu_(x, SLOPE)).float()
        return torch.sigmoid_(self.shuffle(picture))


class _Stage:
    """All blocks of one size: ``scale`` times the guidance's."""

    def __init__(self, blocks: list[SpadeBlock], scale: int, dtype: torch.dtype) -> None:
        self.scale, self.samples = scale, phases.FILTERED[scale]
        self.blocks = [_Block(block, scale, dtype) for block in blocks]
        spades = [spade for block in blocks for spade in block.children() if isinstance(spade, Spade)]
        weights, biases = zip(*(weight_and_bias(spade.mlp_shared[0]) for spade in spades), strict=True)
        self.hidden, weight, self.bias = len(biases[0]), torch.cat(weights), torch.cat(biases).to(dtype)
        places = [self.samples.index(i) for i in range(max(self.samples) + 1)]
        self.phases = {
            (i, j): _cast(phases.phase(weight, row, column, phases.REPEATED[scale]), dtype)
            for i, row in enumerate(places)
            for j, column in enumerate(places)
        }

    def __call__(self, x: Tensor, columns: list[Tensor]) -> Tensor:
        cells, step = columns[0].shape[2] - 2, max(self.samples) + 1
        shape, count = (1, self.hidden, *[cells * step + 2] * 2), len(self.bias) // self.hidden
        maps = [torch.empty(shape, dtype=x.dtype, memory_format=LAST).zero_() for _ in range(count)]
        for (row, column), one in self.phases.items():
            found = phases.convolve(columns, one, self.bias, 1, cells).relu_()
            for bordered, part in zip(maps, torch.split(found, self.hidden, 1), strict=True):
                bordered[:, :, 1 + row : -1 : step, 1 + column : -1 : step] = part
        order = iter(maps)
        for block in self.blocks:
            x = block(x, order, cells)
        return x


class _Block:
    """A ``SpadeBlock`` whose input may still be half its size."""

    def __init__(self, block: SpadeBlock, scale: int, dtype: torch.dtype) -> None:
        self.scale = scale
        # At the larger sizes Winograd's sums over rows take as long as what they save.
        square = WinogradConv if scale == 1 else Conv
        self.conv_0, self.conv_1 = (square(*weight_and_bias(conv), dtype) for conv in (block.conv_0, block.conv_1))
        self.norm_0, self.norm_1 = _Modulation(block.norm_0, scale, dtype), _Modulation(block.norm_1, scale, dtype)
        if block.widens:
            self.conv_s = Conv(*weight_and_bias(block.conv_s), dtype)
            self.norm_s = _Modulation(block.norm_s, scale, dtype, block.conv_s)
        self.widens = block.widens

    def __call__(self, x: Tensor, maps: Iterator[Tensor], cells: int) -> Tensor:
        """(1, C, H, H) -> (1, C', scale * cells, scale * cells); takes two or three of the hidden maps."""
        normed = _normalised(x)
        h = self.conv_0(self._modulated(normed, self.norm_0, next(maps), cells))
        h = self.conv_1(self._modulated(_normalised(h), self.norm_1, next(maps), cells))
        if not self.widens:
            return h.add_(x)
        for row, column, gamma, beta in self.norm_s.phases(next(maps), cells):
            scaled = phases.at(normed, row, column, self.scale, cells) * gamma
            phases.at(h, row, column, self.scale, cells).add_(self.conv_s(scaled.contiguous(memory_format=LAST)) + beta)
        return h

    def _modulated(self, normed: Tensor, norm: _Modulation, hidden: Tensor, cells: int) -> Tensor:
        shape = (1, normed.shape[1], self.scale * cells, self.scale * cells)
        out = torch.empty(shape, dtype=normed.dtype, memory_format=LAST)
        for row, column, gamma, beta in norm.phases(hidden, cells):
            moved = torch.addcmul(beta, phases.at(normed, row, column, self.scale, cells), gamma)
            phases.at(out, row, column, self.scale, cells).copy_(F.leaky_relu_(moved, SLOPE))
        return out


class _Modulation:
    """Scale and shift from the hidden map; with ``after``, the shift is what that 1 x 1 convolution makes of it."""

    def __init__(self, spade: Spade, scale: int, dtype: torch.dtype, after: nn.Conv2d | None = None) -> None:
        self.samples = phases.FILTERED[scale]
        (scaling, scale_bias), (beta, shift) = weight_and_bias(spade.mlp_gamma), weight_and_bias(spade.mlp_beta)
        if after is not None:
            mix = after.weight.detach()[:, :, 0, 0]
            beta, shift = torch.einsum("oc,cihw->oihw", mix, beta), mix @ shift
        self.channels = len(scale_bias)
        weight = torch.cat([scaling, beta])
        self.bias = torch.cat([scale_bias + 1, shift]).to(dtype)
        places = product(range(scale), repeat=2)
        self.kernels = {(i, j): _cast(phases.phase(weight, i, j, self.samples), dtype) for i, j in places}
        self.shifts = 1 + max(one.column for one in self.kernels.values())

    def phases(self, hidden: Tensor, cells: int) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Row and column of a phase, 1 + gamma (1, C, cells, cells), beta."""
        columns, step = phases.shifted(hidden, self.shifts), max(self.samples) + 1
        for (row, column), one in self.kernels.items():
            out = phases.convolve(columns, one, self.bias, step, cells)
            yield row, column, out[:, : self.channels], out[:, self.channels :]


def _normalised(x: Tensor) -> Tensor:
    """Instance normalisation of (1, C, H, W); the sums are float32."""
    rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    mean = rows.sum(0, dtype=torch.float32) / len(rows)
    square = (rows * rows).sum(0, dtype=torch.float32) / len(rows)
    scale = torch.rsqrt((square - mean**2).clamp(min=0) + EPS)
    shift, scale = (part.to(x.dtype).view(1, -1, 1, 1) for part in (-mean * scale, scale))
    return torch.addcmul(shift, x, scale)


def _cast(one: phases.Phase, dtype: torch.dtype) -> phases.Phase:
    return one._replace(kernel=one.kernel.to(dtype).contiguous(memory_format=LAST))
