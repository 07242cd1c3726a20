"""Hopenet: yaw, pitch and roll of a head from one picture, as 66 bins of 3 degrees each.

Ruiz, Chong and Rehg, "Fine-grained head pose estimation without keypoints", CVPR-W 2018: a ResNet-50 with three
heads. Preparation of the picture as in its ``test_on_video_dlib.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.types import Image

SIDE = 224  # pixels of the picture that the network sees
BIN = 3.0  # degrees
FIRST_BIN = -99.0  # degrees; LivePortrait's network of the same kind begins at -97.5
# Of ImageNet, for values from 0 to 1.
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@dataclass(frozen=True)
class HopenetConfig:
    """Blocks of the four stages, and bins of an angle."""

    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    bins: int = 66


class Bottleneck(nn.Module):
    """Block of a ResNet-50: (B, inputs, H, W) -> (B, 4 * width, H / stride, W / stride)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class Hopenet(nn.Module):
    """The network; 23,919,890 parameters, entry names are those of ``hopenet_robust_alpha1.pkl``."""

    def __init__(self, config: HopenetConfig | None = None) -> None:
        super().__init__()
        self.config = config or HopenetConfig()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        first, second, third, fourth = self.config.layers
        self.layer1 = _stage(64, 64, first, 1)
        self.layer2 = _stage(256, 128, second, 2)
        self.layer3 = _stage(512, 256, third, 2)
        self.layer4 = _stage(1024, 512, fourth, 2)
        self.fc_yaw = nn.Linear(2048, self.config.bins)
        self.fc_pitch = nn.Linear(2048, self.config.bins)
        self.fc_roll = nn.Linear(2048, self.config.bins)
        self.fc_finetune = nn.Linear(2048 + 3, 3)  # in the published file, but without use

    def features(self, pictures: Tensor) -> Tensor:
        """(B, 3, 224, 224) float32 as ``prepare`` gives them -> (B, 2048)."""
        x: Tensor = torch.relu(self.bn1(self.conv1(pictures)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> logits (B, 3, 66) of yaw, pitch, roll."""
        features = self.features(pictures)
        return torch.stack([self.fc_yaw(features), self.fc_pitch(features), self.fc_roll(features)], 1)


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)


def with_margins(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a picture that is shown for a face box (x0, y0, x1, y1): twice as wide and high, inside the picture.

    Half a box more on the left and right, three quarters above, one quarter below.
    """
    x0, y0, x1, y1 = box
    w, h = abs(x1 - x0), abs(y1 - y0)
    left, top = max(0, int(x0 - w / 2)), max(0, int(y0 - 3 * h / 4))
    return left, top, min(width, int(x1 + w / 2)), min(height, int(y1 + h / 4))


def centre(crop: Image) -> Image:
    """A crop (H, W, 3) uint8 RGB with its shorter side at 224 and the longer one cut to 224: (224, 224, 3).

    Antialiased, on whole levels, like Pillow's bilinear filter; where that rounds otherwise it is one level.
    """
    height, width = crop.shape[:2]
    shorter = min(height, width)
    size = (int(SIDE * height / shorter), int(SIDE * width / shorter))
    pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None]
    resized = nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    top, left = (round((side - SIDE) / 2) for side in size)
    cut: Image = resized[0, :, top : top + SIDE, left : left + SIDE].permute(1, 2, 0).numpy()
    return cut


def prepare(crop: Image) -> Tensor:
    """A crop (H, W, 3) uint8 RGB as the network wants it, (3, 224, 224) float32."""
    levels = torch.from_numpy(centre(crop).copy()).permute(2, 0, 1).float() / 255
    return (levels - MEAN) / STD


def degrees(logits: Tensor) -> Tensor:
    """Logits (..., 66) to angles (...) in degrees: the mean of the bins by their probabilities."""
    bins = torch.arange(logits.shape[-1], dtype=logits.dtype)
    return (torch.softmax(logits, -1) * bins).sum(-1) * BIN + FIRST_BIN
