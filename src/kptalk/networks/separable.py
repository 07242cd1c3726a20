"""The residual block that the face networks are made of: depthwise and pointwise convolution, shortcut, activation."""

from torch import Tensor, nn
from torch.nn import functional as F


class SeparableBlock(nn.Module):
    """(B, groups * inputs, H, W) -> (B, groups * outputs, H / stride, W / stride), with ``outputs`` >= ``inputs``.

    The shortcut is max-pooled where the stride is 2; where there are more outputs than inputs, it adds to the first
    ones. ``groups`` blocks of equal size, which know nothing of each other, lie side by side in the channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, groups: int = 1, prelu: bool = True) -> None:
        super().__init__()
        self.groups = groups
        wide = groups * inputs
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, 2 - stride, groups=wide)
        self.pointwise = nn.Conv2d(wide, groups * outputs, 1, groups=groups)
        self.activation = nn.PReLU(groups * outputs) if prelu else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        halved = self.depthwise.stride == (2, 2)
        y = self.pointwise(self.depthwise(pad_end(x) if halved else x))
        shortcut = F.max_pool2d(x, 2) if halved else x
        if y.shape == shortcut.shape:
            y = y + shortcut
        else:
            b, _, *size = y.shape
            y.view(b, self.groups, -1, *size)[:, :, : x.shape[1] // self.groups] += shortcut.view(
                b, self.groups, -1, *size
            )
        return self.activation(y)


def pad_end(x: Tensor, before: int = 0) -> Tensor:
    """Zeros around (B, C, H, W) for a convolution of stride 2 that keeps half the size: one more after than before.

    This is TensorFlow's SAME for even sizes and kernels of 3 (``before`` 0) or 5 (1).
    """
    return F.pad(x, (before, before + 1, before, before + 1))


def separable_blocks(*sizes: tuple[int, ...], groups: int = 1, prelu: bool = True) -> nn.Sequential:
    """One ``SeparableBlock`` after the other; a size is inputs, outputs and, where it is not 1, stride."""
    return nn.Sequential(*[SeparableBlock(*size, groups=groups, prelu=prelu) for size in sizes])
