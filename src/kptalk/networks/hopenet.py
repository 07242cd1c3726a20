"""Hopenet: yaw, pitch and roll of a head from one image, each as 66 bins of 3 degrees.

Ruiz, Chong and Rehg, "Fine-grained head pose estimation without keypoints", CVPR-W 2018: a ResNet-50
with three heads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

BIN = 3.0  # degrees
FIRST_BIN = -99.0  # degrees; LivePortrait's network of the same kind begins at -97.5


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
    """The network; 23,919,890 parameters, whose names are those of ``hopenet_robust_alpha1.pkl``."""

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
        self.fc_yaw, self.fc_pitch, self.fc_roll = (nn.Linear(2048, self.config.bins) for _ in range(3))
        self.fc_finetune = nn.Linear(2048 + 3, 3)  # in the published file, but unused

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, 224, 224) float32 RGB, normalised as for ImageNet -> (B, 2048)."""
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> logits (B, 3, 66) of yaw, pitch, roll."""
        features = self.features(images)
        return torch.stack([self.fc_yaw(features), self.fc_pitch(features), self.fc_roll(features)], 1)


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)


def degrees(logits: Tensor) -> Tensor:
    """Logits (..., 66) to angles (...) in degrees: the mean of the bins by their probabilities."""
    bins = torch.arange(logits.shape[-1], dtype=logits.dtype)
    return (torch.softmax(logits, -1) * bins).sum(-1) * BIN + FIRST_BIN
