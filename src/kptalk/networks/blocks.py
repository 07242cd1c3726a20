"""The convolution block shared by LivePortrait's networks."""

from torch import Tensor, nn
from torch.nn import functional as F


class ConvBlock(nn.Module):
    """3 x 3 (x 3) convolution with bias, batch normalisation, leaky ReLU of ``slope`` below zero; same size.

    ``dims`` is 2 for images, 3 for volumes.
    """

    def __init__(self, inputs: int, outputs: int, dims: int = 2, slope: float = 0.0) -> None:
        super().__init__()
        self.conv: nn.Module = (nn.Conv2d if dims == 2 else nn.Conv3d)(inputs, outputs, 3, padding=1)
        self.norm: nn.Module = (nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d)(outputs)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, [D,] H, W) -> (B, outputs, [D,] H, W)."""
        return F.leaky_relu(self.norm(self.conv(x)), self.slope)
