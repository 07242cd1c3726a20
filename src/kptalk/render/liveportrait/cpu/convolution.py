"""Convolutions made ready for inference: weights of trained layers, fewer layers, fewer multiplications."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


def weight_and_bias(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """Of a convolution; zeros where it has no bias."""
    assert isinstance(conv, nn.Conv2d | nn.Conv3d)
    weight = conv.weight.detach()
    return weight, weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()


def folded(conv: nn.Module | Tensor, norm: nn.Module | Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what ``conv`` and then the trained batch normalisation do."""
    assert isinstance(conv, nn.Conv2d | nn.Conv3d)
    assert isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d)
    return weight_and_bias(fuse_conv_bn_eval(conv.eval(), norm.eval()))


class Conv:
    """A convolution that keeps the size, channels last, of weight (O, C, [k,] k, k), in the arithmetic of ``dtype``."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        flat = weight.dim() == 4
        self.convolve = F.conv2d if flat else F.conv3d
        self.format = torch.channels_last if flat else torch.channels_last_3d
        self.weight, self.bias = weight.to(dtype, memory_format=self.format), bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, [D,] H, W) -> (1, O, [D,] H, W); beyond the borders there are zeros."""
        return self.convolve(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class WinogradConv:
    """A 3 x 3 (x 3) ``Conv``, two rows of the output at a time: F(2, 3) of Winograd.

    Two rows take four convolutions of a single row in place of six. In bfloat16 the sums cost a little precision.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        flat = weight.dim() == 4
        self.convolve = F.conv2d if flat else F.conv3d
        self.format = torch.channels_last if flat else torch.channels_last_3d
        self.padding: tuple[int, ...] = (0, 1) if flat else (1, 0, 1)
        above, middle, below = torch.split(weight.double(), 1, -2)
        kernels = (above, (above + middle + below) / 2, (above - middle + below) / 2, below)
        self.kernels = [kernel.to(dtype, memory_format=self.format) for kernel in kernels]
        self.bias = bias.to(dtype).view(-1, *[1] * (weight.dim() - 2))

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, [D,] H, W) with an even H -> (1, O, [D,] H, W); beyond the borders there are zeros."""
        even, odd = x[..., ::2, :], x[..., 1::2, :]
        first, last = torch.empty_like(even), torch.empty_like(even)
        torch.sub(odd[..., :-1, :], odd[..., 1:, :], out=first[..., 1:, :])
        torch.neg(odd[..., :1, :], out=first[..., :1, :])
        torch.sub(even[..., :-1, :], even[..., 1:, :], out=last[..., :-1, :])
        last[..., -1:, :] = even[..., -1:, :]
        parts = (first, even + odd, odd - even, last)
        top, total, difference, bottom = (
            self.convolve(part, kernel, padding=self.padding) for part, kernel in zip(parts, self.kernels, strict=True)
        )
        total += self.bias
        shape = (1, len(self.bias), *x.shape[2:])
        out = torch.empty(shape, dtype=x.dtype, memory_format=self.format)
        out[..., ::2, :] = top.add_(total).add_(difference)
        out[..., 1::2, :] = total.sub_(difference).sub_(bottom)
        return out
