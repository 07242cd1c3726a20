"""The warping network, faster on a CPU: the same features from fewer operations.

What is exact: batch normalisation is folded into the convolutions; the candidates' pure translations and Gaussians are
products of one-dimensional ones; convolutions of enlarged maps run on the small ones (``phases``); and the widest
convolution, 7 x 7 x 7 to the mask, becomes products of Fourier coefficients along depth, a third of the operations.
"""

import math
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.dense_motion import KEYPOINT_VARIANCE, DenseMotionNetwork, coordinate_grid
from kptalk.networks.warping import WarpingNetwork
from kptalk.render.liveportrait.cpu import phases
from kptalk.render.liveportrait.cpu.convolution import Conv, WinogradConv, folded, weight_and_bias

# How much of the mask's Fourier coefficients is computed at once: arrays beyond 32 MB are new memory for every frame,
# and to touch it first takes longer than to compute.
COEFFICIENTS, ROWS = 10, 8
LAST_2D, LAST_3D = torch.channels_last, torch.channels_last_3d


class FastWarping:
    """Same input and output as ``WarpingNetwork``, whose weights are copied; ``dtype`` is that of weights and features.

    Coordinates stay float32.
    """

    def __init__(self, warping: WarpingNetwork, dtype: torch.dtype) -> None:
        self.dtype = dtype
        config, dense = warping.config, warping.dense_motion_network
        self.compress = folded(dense.compress, dense.norm)
        self.hourglass = _Hourglass(dense, dtype)
        self.mask = _DepthFourier(dense.mask, config.volume_depth)
        self.occlusion = _OneChannel(dense.occlusion, config.volume_depth)
        weight, bias = folded(warping.third.conv, warping.third.norm)
        # The moved volume comes with the channels of a cell side by side, depth after depth.
        weight = torch.unflatten(weight, 1, (config.volume_channels, -1)).transpose(1, 2).flatten(1, 2)
        self.third, self.slope = Conv(weight, bias, dtype), warping.third.slope
        self.fourth = Conv(*weight_and_bias(warping.fourth), dtype)

    @torch.inference_mode()
    def __call__(self, volume: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        """(B, 32, 16, 64, 64) float32 and keypoints (B, 21, 3) twice -> (B, 256, 64, 64) of ``dtype``."""
        return torch.cat([self._warp(*(t[None] for t in one)) for one in zip(volume, driving, source, strict=True)])

    def _warp(self, volume: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        shift = F.pad(source - driving, (0, 0, 1, 0))[0]
        compressed = torch.relu_(F.conv3d(volume, *self.compress))
        inputs = _candidates(compressed[0], shift, driving[0], source[0], self.dtype)
        features = self.hourglass(inputs)  # (1, 142, D, H, W) float32, channels last
        share = torch.softmax(self.mask(features), -1)  # (D, H, W, 22)
        # The candidates differ by a shift alone and the shares' sum is one.
        moved = sample(volume[0], coordinate_grid(volume.shape[2:], volume) + share @ shift)
        h = F.leaky_relu_(self.third(moved.to(self.dtype)), self.slope)
        return self.fourth(h) * self.occlusion(features).to(self.dtype)


class _Hourglass:
    """Encoder and decoder of ``dense_motion``; the first convolution takes the heatmaps before all warped features.

    The last layers work in float32, as what follows does: in bfloat16 they would be 0.1 s faster, and lose 4 dB in the
    frames.
    """

    def __init__(self, dense: DenseMotionNetwork, dtype: torch.dtype) -> None:
        encoder, decoder = dense.hourglass["encoder"], dense.hourglass["decoder"]
        count, each = dense.mask.out_channels, 1 + dense.compress.out_channels
        own = torch.arange(count * each).view(count, each)
        order = torch.cat([own[:, 0], own[:, 1:].flatten()])
        (weight, bias), *inner = (
            folded(block.conv, block.norm) for block in encoder.get_submodule("down_blocks").children()
        )
        self.down = [Conv(*layer, dtype) for layer in ((weight[:, order], bias), *inner)]
        *inner, last = (folded(block.conv, block.norm) for block in decoder.get_submodule("up_blocks").children())
        self.up = [*(_UpsampleConv(*layer, dtype) for layer in inner), _UpsampleConv(*last, torch.float32)]
        weight, bias = folded(decoder.conv, decoder.norm)
        behind = weight.shape[1] - len(order)  # channels before the input that was skipped along
        order = torch.cat([torch.arange(behind), behind + order])
        self.last = WinogradConv(weight[:, order], bias, torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            skips.append(x)
            pooled = F.avg_pool2d(down(x).relu_()[0].transpose(0, 1), 2)
            x = pooled.transpose(0, 1)[None]
        for up in self.up:
            x = up(x, skips.pop())
        return self.last(x).relu_()


class _UpsampleConv:
    """Height and width doubled by repetition, convolved, activated, and joined with what is skipped along."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.outputs, self.bias = len(bias), bias.to(dtype)
        flat = weight.flatten(1, 2)  # depth's taps stay as they are
        self.phases = []
        for row, column in product((0, 1), repeat=2):
            one = phases.phase(flat, row, column, phases.REPEATED[2])
            kernel = torch.unflatten(one.kernel, 1, (-1, 3)).to(dtype, memory_format=LAST_3D)
            self.phases.append((row, column, one._replace(kernel=kernel)))

    def __call__(self, x: Tensor, skip: Tensor) -> Tensor:
        x = x.to(self.bias.dtype)
        channels = self.outputs + skip.shape[1]
        out = torch.empty((1, channels, *skip.shape[2:]), dtype=x.dtype, memory_format=LAST_3D)
        out[:, self.outputs :] = skip
        bordered = F.pad(x, (1, 1, 1, 1))
        height, width = x.shape[3:]
        for row, column, one in self.phases:
            rows, columns = one.kernel.shape[3:]
            part = bordered[..., one.row : one.row + height + rows - 1, one.column : one.column + width + columns - 1]
            h = F.conv3d(part.contiguous(memory_format=LAST_3D), one.kernel, self.bias, padding=(1, 0, 0))
            out[:, : self.outputs, :, row::2, column::2] = h.relu_()
        return out


class _DepthFourier:
    """A convolution with k taps along depth by discrete Fourier transform over depth, 2-D convolutions in between.

    In float32, for the mask decides where the frame comes from: bfloat16 would be 0.1 s faster, and lose 3 dB.
    """

    def __init__(self, conv: nn.Conv3d, depth: int) -> None:
        weight, self.bias = weight_and_bias(conv)
        weight, reach = weight.double(), weight.shape[2] // 2
        self.outputs, self.reach = len(weight), reach
        length = depth + reach  # the two ends may overlap in what is cut off
        length += 1 - length % 2  # odd: all coefficients but the first are complex
        half = torch.arange(1, length // 2 + 1, dtype=torch.float64)
        turn = 2 * math.pi / length
        angle = turn * half[:, None] * torch.arange(depth)
        # Along depth: the sum, then pairs of cosine and (negative) sine coefficients; and back.
        pairs = torch.stack([torch.cos(angle), -torch.sin(angle)], 1).flatten(0, 1)
        self.forward = torch.cat([torch.ones(1, depth), pairs]).float()
        self.inverse = (torch.cat([torch.ones(1, depth), 2 * pairs]).T / length).float()
        tap = torch.exp(1j * turn * half[:, None] * (torch.arange(weight.shape[2]) - reach))
        # A complex product, real and imaginary part of the output side by side: one kernel for either of the input.
        kernels = [weight.sum(2)]
        for one in torch.einsum("fk,oikhw->foihw", tap, weight.to(tap.dtype)):
            kernels += [torch.cat([one.real, one.imag]), torch.cat([-one.imag, one.real])]
        self.kernels = [kernel.to(torch.float32, memory_format=LAST_2D) for kernel in kernels]

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, D, H, W) channels last -> (D, H, W, outputs) float32."""
        depth, height, width = x.shape[2:]
        sums, first = [], 0
        for coefficients in torch.split(self.forward, COEFFICIENTS):
            planes = _along_depth(x, coefficients)
            for plane, kernel in zip(planes, self.kernels[first : first + COEFFICIENTS], strict=True):
                sums.append(F.conv2d(plane[None], kernel, padding=self.reach)[0].permute(1, 2, 0))
            first += COEFFICIENTS
        products = [sums[0]]
        for i in range(1, len(sums), 2):
            products += torch.split(sums[i] + sums[i + 1], self.outputs, -1)
        back = self.inverse @ torch.stack(products).flatten(1)
        return back.view(depth, height, width, self.outputs) + self.bias


def _along_depth(x: Tensor, coefficients: Tensor) -> Tensor:
    """(1, C, D, H, W) channels last and (N, D) -> (N, C, H, W) float32 channels last."""
    channels, _, height, width = x.shape[1:]
    out = torch.empty((len(coefficients), height, width * channels))
    lines = x[0].permute(1, 2, 3, 0).flatten(2)
    for first in range(0, height, ROWS):
        part = lines[:, first : first + ROWS].float()
        out[:, first : first + ROWS] = (coefficients @ part.flatten(1)).view(-1, *part.shape[1:])
    return out.view(-1, height, width, channels).permute(0, 3, 1, 2)


class _OneChannel:
    """A 7 x 7 convolution to a single channel, as a product with all taps followed by their shifted sum; sigmoid."""

    def __init__(self, conv: nn.Conv2d, depth: int) -> None:
        weight, self.bias = weight_and_bias(conv)
        weight = torch.unflatten(weight[0], 0, (-1, depth)).flip(2, 3)  # the sum runs from input to output
        self.side = weight.shape[-1]
        self.taps = weight.flatten(2).transpose(0, 1).contiguous()  # (D, C, 49)

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, D, H, W) channels last -> (1, 1, H, W) float32."""
        height, width = x.shape[3:]
        lines = x[0].permute(1, 2, 3, 0).flatten(1, 2)  # (D, H W, C)
        taps = torch.bmm(lines, self.taps).sum(0)
        summed = F.fold(taps.T[None], (height, width), self.side, padding=self.side // 2)
        return torch.sigmoid(summed + self.bias)


def sample(volume: Tensor, places: Tensor) -> Tensor:
    """Trilinear samples of a volume, as ``grid_sample`` with align_corners=False and zeros outside.

    (C, D, H, W) and places (D', H', W', 3) x, y, z -> (1, D' C, H', W') channels last: depth after depth, the channels
    of each. The volume's outermost edges are at -1 and 1.
    """
    size, shape = volume.shape[1:], places.shape[1:3]
    places = places.permute(1, 2, 0, 3).reshape(-1, 3)
    index, weight = torch.zeros((len(places), 1), dtype=torch.int64), torch.ones((len(places), 1))
    for n, axis in zip(size, (2, 1, 0), strict=True):
        cell = ((places[:, axis] + 1) * n - 1) / 2
        low = cell.floor()
        corners = torch.stack([low, low + 1], 1)
        near = (1 - (cell[:, None] - corners).abs()) * ((corners >= 0) & (corners < n))
        corners = corners.clamp(0, n - 1).long()
        index = (index[:, :, None] * n + corners[:, None]).flatten(1)
        weight = (weight[:, :, None] * near[:, None]).flatten(1)
    table = volume.flatten(1).T.contiguous()
    found = F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
    return found.view(1, *shape, -1).permute(0, 3, 1, 2)


def _candidates(compressed: Tensor, shift: Tensor, driving: Tensor, source: Tensor, dtype: torch.dtype) -> Tensor:
    """Input of the hourglass (1, 22 + 22 * 4, D, H, W) channels last: all heatmaps, then all warped volumes.

    ``compressed`` (4, D, H, W) is what is warped; ``shift`` (22, 3) from the keypoints ``driving`` (21, 3) to those of
    the ``source`` (21, 3), the background's first; ``dtype`` that of the result.
    """
    channels, *size = compressed.shape
    count = len(shift)
    out = torch.empty((*size, count * (1 + channels)), dtype=dtype)
    out[..., 0] = 0  # the background has no heatmap
    out[..., 1:count] = _gaussians(driving, size) - _gaussians(source, size)
    along_z, along_y, along_x = (_interpolation(n, shift[:, axis]) for n, axis in zip(size, (2, 1, 0), strict=True))
    moved = along_z @ compressed.transpose(0, 1).flatten(1)  # (22, D, 4 H W)
    moved = along_y[:, None] @ moved.view(count, -1, *size[1:])  # (22, D 4, H, W)
    moved = (moved.flatten(1, 2) @ along_x.transpose(1, 2)).view(count, size[0], channels, *size[1:])
    out[..., count:] = moved.to(dtype).permute(1, 3, 4, 0, 2).flatten(3)
    return out.permute(3, 0, 1, 2)[None]


def _interpolation(n: int, shift: Tensor) -> Tensor:
    """(K,) shifts -> (K, n, n): the matrix that samples n cells at their own places plus the shift, linearly."""
    cells = ((torch.linspace(-1, 1, n) + shift[:, None] + 1) * n - 1) / 2
    return (1 - (cells[:, :, None] - torch.arange(n)).abs()).clamp(min=0)


def _gaussians(keypoints: Tensor, size: list[int]) -> Tensor:
    """(K, 3) -> (D, H, W, K), see ``dense_motion.gaussians``."""
    lines = (torch.linspace(-1, 1, n)[:, None] for n in size)
    distances = (line - keypoints[:, axis] for line, axis in zip(lines, (2, 1, 0), strict=True))
    z, y, x = (torch.exp(-0.5 * distance**2 / KEYPOINT_VARIANCE) for distance in distances)
    return (z[:, None] * y)[:, :, None] * x
