"""Inception v3 as FID uses it: pictures → 2048 features.

Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, in the form of TensorFlow's network of 2015-12-05,
with which FID was published: average pools leave the padding out, and the last block pools by maximum. The tensors are
named as in torch-fidelity's and pytorch-fid's files, which load as they are. Pictures are reduced to 299 x 299 by
antialiased bilinear interpolation, as torchmetrics' ``FrechetInceptionDistance`` does by default.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.errors import WeightsError

FEATURES = 2048
SIDE = 299  # pixels
# A convolution is (name, channels, kernel (down, across), stride); kernels that keep the size are padded by half.
Conv = tuple[str, int, tuple[int, int], int]
POINT, LONG, TALL, SQUARE, WIDE = (1, 1), (1, 7), (7, 1), (3, 3), (5, 5)


def load_inception(path: Path) -> Inception:
    """The network with the weights of a ``.pth`` file, in eval mode on the CPU.

    Raises:
        WeightsError: the file is missing, damaged, holds more than tensors, or those of another network.
    """
    network = Inception()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, UnpicklingError, EOFError, AttributeError, TypeError, ValueError) as error:
        reason = (str(error).strip() or "the file is empty").splitlines()[0]
        raise WeightsError(f"{path} does not hold the weights of FID's Inception: {reason}") from error
    return network.eval().requires_grad_(False)


class Inception(nn.Module):
    """(N, 3, H, W) uint8 RGB to (N, 2048) float32."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, SQUARE, 2, 0)
        self.Conv2d_2a_3x3 = Convolution(32, 32, SQUARE, 1, 0)
        self.Conv2d_2b_3x3 = Convolution(32, 64, SQUARE, 1, 1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, POINT, 1, 0)
        self.Conv2d_4a_3x3 = Convolution(80, 192, SQUARE, 1, 0)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(128)
        self.Mixed_6c = _block_c(160)
        self.Mixed_6d = _block_c(160)
        self.Mixed_6e = _block_c(192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _block_e(1280, "average")
        self.Mixed_7c = _block_e(2048, "maximum")
        self.fc = nn.Linear(2048, 1008)  # the classes: in the files, but of no use here

    def forward(self, images: Tensor) -> Tensor:
        x = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        x = (x - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int, padding: int | tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches side by side, their channels joined.

    Args:
        inputs: channels.
        branches: each a chain of convolutions; two in the chain's last place stand side by side themselves.
        pool: how the pooled branch pools: ``average``, ``maximum``, or ``halve``: maximum with stride 2.
        pooled: channels of the pooled branch's convolution; 0: it has none.
    """

    def __init__(self, inputs: int, branches: list[list[Conv | list[Conv]]], pool: str, pooled: int) -> None:
        super().__init__()
        self.pool = pool
        self.chains: list[list[list[str]]] = []
        for branch in branches:
            channels, chain = inputs, []
            for place in branch:
                abreast = place if isinstance(place, list) else [place]
                for name, outputs, kernel, stride in abreast:
                    padding = (kernel[0] // 2, kernel[1] // 2) if stride == 1 else 0
                    self.add_module(name, Convolution(channels, outputs, kernel, stride, padding))
                channels = abreast[-1][1]
                chain.append([name for name, *_ in abreast])
            self.chains.append(chain)
        if pooled:
            self.branch_pool = Convolution(inputs, pooled, POINT, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for chain in self.chains:
            y = x
            for names in chain:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            parts.append(y)
        match self.pool:
            case "average":
                y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            case "maximum":
                y = F.max_pool2d(x, 3, 1, 1)
            case _:
                y = F.max_pool2d(x, 3, 2)
        return torch.cat([*parts, self.branch_pool(y) if hasattr(self, "branch_pool") else y], 1)


def _block_a(inputs: int, pooled: int) -> Block:
    return Block(
        inputs,
        [
            [("branch1x1", 64, POINT, 1)],
            [("branch5x5_1", 48, POINT, 1), ("branch5x5_2", 64, WIDE, 1)],
            [
                ("branch3x3dbl_1", 64, POINT, 1),
                ("branch3x3dbl_2", 96, SQUARE, 1),
                ("branch3x3dbl_3", 96, SQUARE, 1),
            ],
        ],
        "average",
        pooled,
    )


def _block_b(inputs: int) -> Block:
    return Block(
        inputs,
        [
            [("branch3x3", 384, SQUARE, 2)],
            [
                ("branch3x3dbl_1", 64, POINT, 1),
                ("branch3x3dbl_2", 96, SQUARE, 1),
                ("branch3x3dbl_3", 96, SQUARE, 2),
            ],
        ],
        "halve",
        0,
    )


def _block_c(inner: int) -> Block:
    return Block(
        768,
        [
            [("branch1x1", 192, POINT, 1)],
            [("branch7x7_1", inner, POINT, 1), ("branch7x7_2", inner, LONG, 1), ("branch7x7_3", 192, TALL, 1)],
            [
                ("branch7x7dbl_1", inner, POINT, 1),
                ("branch7x7dbl_2", inner, TALL, 1),
                ("branch7x7dbl_3", inner, LONG, 1),
                ("branch7x7dbl_4", inner, TALL, 1),
                ("branch7x7dbl_5", 192, LONG, 1),
            ],
        ],
        "average",
        192,
    )


def _block_d(inputs: int) -> Block:
    return Block(
        inputs,
        [
            [("branch3x3_1", 192, POINT, 1), ("branch3x3_2", 320, SQUARE, 2)],
            [
                ("branch7x7x3_1", 192, POINT, 1),
                ("branch7x7x3_2", 192, LONG, 1),
                ("branch7x7x3_3", 192, TALL, 1),
                ("branch7x7x3_4", 192, SQUARE, 2),
            ],
        ],
        "halve",
        0,
    )


def _block_e(inputs: int, pool: str) -> Block:
    return Block(
        inputs,
        [
            [("branch1x1", 320, POINT, 1)],
            [
                ("branch3x3_1", 384, POINT, 1),
                [("branch3x3_2a", 384, (1, 3), 1), ("branch3x3_2b", 384, (3, 1), 1)],
            ],
            [
                ("branch3x3dbl_1", 448, POINT, 1),
                ("branch3x3dbl_2", 384, SQUARE, 1),
                [("branch3x3dbl_3a", 384, (1, 3), 1), ("branch3x3dbl_3b", 384, (3, 1), 1)],
            ],
        ],
        pool,
        192,
    )
