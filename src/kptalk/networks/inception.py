"""Inception v3 as FID uses it: images to 2048 features.

Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, in the form of TensorFlow's network of 2015-12-05,
with which FID was published: average pools exclude the padding, and the last block pools by maximum. Parameter names
are those of torch-fidelity's and pytorch-fid's files. Images are resized to 299 x 299 by antialiased bilinear
interpolation, the default of torchmetrics' ``FrechetInceptionDistance``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 2048
SIDE = 299  # pixels
Conv = tuple[str, int, tuple[int, int]]  # name, channels, kernel (down, across)
Branch = list[Conv | list[Conv]]
POINT, ROW, COLUMN, SQUARE = (1, 1), (1, 7), (7, 1), (3, 3)
AVERAGE, MAXIMUM, HALVE = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 2)


@dataclass(frozen=True)
class InceptionConfig:
    """Classes of the last layer, which the file holds but FID does not use; the rest is fixed by the file."""

    classes: int = 1008


class Inception(nn.Module):
    """(N, 3, H, W) uint8 RGB to (N, 2048) float32."""

    def __init__(self, config: InceptionConfig | None = None) -> None:
        super().__init__()
        self.config = config or InceptionConfig()
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
        self.Mixed_7b = _block_e(1280, AVERAGE)
        self.Mixed_7c = _block_e(2048, MAXIMUM)
        self.fc = nn.Linear(FEATURES, self.config.classes)

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
    """Parallel branches, their channels concatenated.

    Args:
        inputs: channels.
        branches: each a chain of convolutions; a pair in the chain's last place is parallel itself.
        pool: of the pooled branch; with ``HALVE`` all branches end with stride 2.
        pooled: channels of the pooled branch's convolution; 0: it has none.
    """

    def __init__(self, inputs: int, branches: list[Branch], pool: nn.Module, pooled: int = 0):
        super().__init__()
        self.pool = pool
        self.chains: list[list[list[str]]] = []
        for branch in branches:
            channels, chain = inputs, []
            for place in branch:
                parallel = place if isinstance(place, list) else [place]
                halves = pool is HALVE and place is branch[-1]
                for name, outputs, (height, width) in parallel:
                    padding = (0, 0) if halves else (height // 2, width // 2)
                    self.add_module(name, Convolution(channels, outputs, (height, width), 1 + halves, padding))
                channels = parallel[-1][1]
                chain.append([name for name, *_ in parallel])
            self.chains.append(chain)
        self.branch_pool = Convolution(inputs, pooled, POINT, 1, 0) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for chain in self.chains:
            y = x
            for names in chain:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            parts.append(y)
        return torch.cat([*parts, self.branch_pool(self.pool(x))], 1)


def _block_a(inputs: int, pooled: int) -> Block:
    branches: list[Branch] = [
        [("branch1x1", 64, POINT)],
        [("branch5x5_1", 48, POINT), ("branch5x5_2", 64, (5, 5))],
        [("branch3x3dbl_1", 64, POINT), ("branch3x3dbl_2", 96, SQUARE), ("branch3x3dbl_3", 96, SQUARE)],
    ]
    return Block(inputs, branches, AVERAGE, pooled)


def _block_b(inputs: int) -> Block:
    branches: list[Branch] = [
        [("branch3x3", 384, SQUARE)],
        [("branch3x3dbl_1", 64, POINT), ("branch3x3dbl_2", 96, SQUARE), ("branch3x3dbl_3", 96, SQUARE)],
    ]
    return Block(inputs, branches, HALVE)


def _block_c(inner: int) -> Block:
    kernels = (POINT, COLUMN, ROW, COLUMN, ROW)
    branches: list[Branch] = [
        [("branch1x1", 192, POINT)],
        [("branch7x7_1", inner, POINT), ("branch7x7_2", inner, ROW), ("branch7x7_3", 192, COLUMN)],
        [(f"branch7x7dbl_{i}", 192 if i == 5 else inner, kernel) for i, kernel in enumerate(kernels, 1)],
    ]
    return Block(768, branches, AVERAGE, 192)


def _block_d(inputs: int) -> Block:
    kernels = (POINT, ROW, COLUMN, SQUARE)
    branches: list[Branch] = [
        [("branch3x3_1", 192, POINT), ("branch3x3_2", 320, SQUARE)],
        [(f"branch7x7x3_{i}", 192, kernel) for i, kernel in enumerate(kernels, 1)],
    ]
    return Block(inputs, branches, HALVE)


def _block_e(inputs: int, pool: nn.Module) -> Block:
    branches: list[Branch] = [
        [("branch1x1", 320, POINT)],
        [("branch3x3_1", 384, POINT), [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))]],
        [
            *(("branch3x3dbl_1", 448, POINT), ("branch3x3dbl_2", 384, SQUARE)),
            [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))],
        ],
    ]
    return Block(inputs, branches, pool, 192)
