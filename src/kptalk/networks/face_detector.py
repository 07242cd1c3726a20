"""The detectors of MediaPipe's face detection: boxes and six key points of faces, near and far.

Both look at one square and give, for every anchor, a score and 16 numbers in pixels of the square, relative to the
anchor: centre x and y, width, height, then x and y of the eyes, the nose's tip, the mouth and the ears (the person's
right before the left). Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.separable import pad_end, separable_blocks

N_NUMBERS = 16  # of a detection


class ShortRangeDetector(nn.Module):
    """Faces within two metres, which fill much of the picture; 101,390 parameters."""

    side = 128  # pixels of the square
    cells: tuple[tuple[int, int], ...] = ((16, 2), (8, 6))  # cells along a side, and anchors in each, of the two maps

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 5, 2)
        fine = [(24, 24), (24, 28), (28, 32, 2), (32, 36), (36, 42), (42, 48, 2), (48, 56), (56, 64), (64, 72)]
        self.fine = separable_blocks(*fine, (72, 80), (80, 88), prelu=False)
        self.coarse = separable_blocks((88, 96, 2), (96, 96), (96, 96), (96, 96), (96, 96), prelu=False)
        self.fine_scores, self.coarse_scores = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.fine_boxes, self.coarse_boxes = nn.Conv2d(88, 2 * N_NUMBERS, 1), nn.Conv2d(96, 6 * N_NUMBERS, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 128, 128) float32 RGB, -1 to 1 -> numbers (B, 896, 16) and logits (B, 896)."""
        fine = self.fine(torch.relu(self.stem(pad_end(images, 1))))
        coarse = self.coarse(fine)
        boxes = [_rows(self.fine_boxes(fine), N_NUMBERS), _rows(self.coarse_boxes(coarse), N_NUMBERS)]
        scores = [_rows(self.fine_scores(fine), 1), _rows(self.coarse_scores(coarse), 1)]
        return torch.cat(boxes, 1), torch.cat(scores, 1)[..., 0]


class Bottleneck(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride), by way of ``width`` channels.

    With the input added to the output, unless their sizes differ.
    """

    def __init__(self, inputs: int, width: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = stride == 1
        self.spread = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
        self.reduce = nn.Conv2d(inputs, width, 1)
        self.filter = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.expand = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.filter(torch.relu(self.reduce(self.spread(x)))))
        return torch.relu(x + y if self.residual else y)


class Down(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2), and of that (B, lateral, H / 2, W / 2) for the way up."""

    def __init__(self, inputs: int, width: int, outputs: int, lateral: int) -> None:
        super().__init__()
        same = [Bottleneck(outputs, width, outputs) for _ in range(2)]
        self.blocks = nn.Sequential(Bottleneck(inputs, width, outputs, 2), *same)
        self.lateral = nn.Conv2d(outputs, lateral, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(x)
        return x, torch.relu(self.lateral(x))


class Up(nn.Module):
    """(B, inputs, H, W) and what came from the way down, (B, outputs, 2 H, 2 W), to the latter's size."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, outputs, 1)
        self.blocks = nn.Sequential(*[Bottleneck(outputs, outputs // 2, outputs) for _ in range(blocks)])

    def forward(self, x: Tensor, lateral: Tensor) -> Tensor:
        squeezed = torch.relu(self.squeeze(x))
        enlarged = F.interpolate(squeezed, scale_factor=2, mode="bilinear", align_corners=False)
        return self.blocks(lateral + enlarged)


class FullRangeDetector(nn.Module):
    """Faces up to five metres away, also small ones; 508,308 parameters: a feature pyramid."""

    side = 192
    cells: tuple[tuple[int, int], ...] = ((48, 1),)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.fine = nn.Sequential(Bottleneck(32, 8, 32), Bottleneck(32, 8, 32))  # 96 cells along a side
        self.down = nn.ModuleList([Down(32, 16, 64, 48), Down(64, 32, 128, 64), Down(128, 48, 192, 96)])  # 48, 24, 12
        self.coarse = nn.Sequential(Bottleneck(192, 96, 384, 2), *[Bottleneck(384, 96, 384) for _ in range(3)])  # 6
        self.up = nn.ModuleList([Up(384, 96, 2), Up(96, 64, 2), Up(64, 48, 1)])  # 12, 24, 48
        self.scores = _quarters(48, 1)
        self.boxes = _quarters(48, N_NUMBERS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 192, 192) float32 RGB, -1 to 1 -> numbers (B, 2304, 16) and logits (B, 2304)."""
        x = self.fine(torch.relu(self.stem(images)))
        laterals = []
        for down in self.down:
            x, lateral = down(x)
            laterals.append(lateral)
        x = self.coarse(x)
        for up in self.up:
            x = up(x, laterals.pop())
        return _cells_of_quarters(self.boxes(x), N_NUMBERS), _cells_of_quarters(self.scores(x), 1)[..., 0]


Detector = ShortRangeDetector | FullRangeDetector


def anchors(cells: Sequence[tuple[int, int]]) -> Tensor:
    """Middles x, y of a detector's anchors, (N, 2) in sides of the square, in the order of its outputs."""
    found = []
    for n, repeat in cells:
        y, x = torch.meshgrid(*[(torch.arange(n) + 0.5) / n] * 2, indexing="ij")
        found.append(torch.stack([x, y], -1).reshape(-1, 2).repeat_interleave(repeat, 0))
    return torch.cat(found)


def _rows(x: Tensor, numbers: int) -> Tensor:
    """(B, anchors * numbers, H, W) -> (B, H * W * anchors, numbers)."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)


def _quarters(inputs: int, numbers: int) -> nn.Sequential:
    """A map of half the size whose cells hold four cells' numbers."""
    return nn.Sequential(
        nn.Conv2d(inputs, 4 * numbers, 1), nn.Conv2d(4 * numbers, 4 * numbers, 3, 2, 1, groups=4 * numbers)
    )


def _cells_of_quarters(x: Tensor, numbers: int) -> Tensor:
    """(B, 2 * 2 * numbers, H, W) -> (B, 2 * H * 2 * W, numbers), row by row: depth to space."""
    b, _, h, w = x.shape
    return x.reshape(b, 2, 2, numbers, h, w).permute(0, 4, 1, 5, 2, 3).reshape(b, 4 * h * w, numbers)
