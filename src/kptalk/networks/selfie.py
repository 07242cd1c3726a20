"""MediaPipe's selfie segmentation: which pixels of a picture show a person.

A MobileNetV3 whose features are enlarged again, with the finer maps of the way down added.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.separable import pad_end

SIDE = 256  # pixels of the picture


class Gate(nn.Module):
    """Squeeze and excitation: a factor 0 to 1 for each channel, (B, C, H, W) -> (B, C, 1, 1)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride), by way of ``width`` channels.

    The input is added where the sizes allow it.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        gate: int | None = None,
        activation: Callable[[Tensor], Tensor] = F.hardswish,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.halves, self.residual = stride == 2, stride == 1
        self.expand = nn.Conv2d(inputs, width, 1)
        self.filter = nn.Conv2d(width, width, kernel, stride, 0 if self.halves else kernel // 2, groups=width)
        self.gate = None if gate is None else Gate(width, gate)
        self.reduce = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.expand(x))
        y = self.activation(self.filter(pad_end(y, self.filter.kernel_size[0] // 2 - 1) if self.halves else y))
        if self.gate is not None:
            y = y * self.gate(y)
        y = self.reduce(y)
        return y + x if self.residual else y


class Enlarge(nn.Module):
    """Coarse features at twice the size, joined with the finer ones of the way down, (B, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 1)
        self.gate = Gate(outputs, outputs)
        self.mix = nn.Conv2d(outputs, outputs, 1)
        self.filter = nn.Conv2d(outputs, outputs, 3, 1, 1, groups=outputs)

    def forward(self, x: Tensor, finer: Tensor) -> Tensor:
        x = self.reduce(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        x = torch.relu(self.mix(finer * self.gate(finer + x) + x))
        return x + torch.relu(self.filter(x))


class SelfieSegmentation(nn.Module):
    """The network; 106,401 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2)
        self.stage4 = InvertedResidual(16, 16, 16, stride=2, gate=8, activation=torch.relu)
        self.stage8 = nn.Sequential(
            InvertedResidual(16, 72, 24, stride=2, activation=torch.relu),
            InvertedResidual(24, 88, 24, activation=torch.relu),
        )
        self.stage16 = nn.Sequential(
            InvertedResidual(24, 96, 32, kernel=5, stride=2, gate=24),
            *[InvertedResidual(32, width, 32, kernel=5, gate=width // 4) for width in (128, 128, 96, 96)],
        )
        self.context = nn.Conv2d(32, 128, 1)
        self.context_gate = nn.Conv2d(32, 128, 1)
        self.enlarge = nn.ModuleList([Enlarge(128, 24), Enlarge(24, 16), Enlarge(16, 16)])
        self.mask = nn.ConvTranspose2d(16, 1, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 256, 256) float32 RGB, 0 to 1 -> probability of a person, (B, 1, 256, 256)."""
        finer = [F.hardswish(self.stem(pad_end(images)))]
        for stage in (self.stage4, self.stage8):
            finer.append(stage(finer[-1]))
        x = self.stage16(finer[-1])
        x = torch.relu(self.context(x)) * torch.sigmoid(self.context_gate(x.mean((2, 3), keepdim=True)))
        for enlarge in self.enlarge:
            x = enlarge(x, finer.pop())
        return torch.sigmoid(self.mask(x))
