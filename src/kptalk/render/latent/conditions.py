"""What the denoiser is told of a frame: the warped photo, landmark maps, and the photo with its own landmark maps."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kptalk.render.latent.landmark_maps import N_MAPS
from kptalk.types import Image

N_CONDITIONS = 3 + N_MAPS + 3 + N_MAPS + 2
MAPS = slice(3, 3 + N_MAPS)  # of the condition's channels, the frame's landmark maps
_COARSER = 4  # pixels of the square in one of those that the mouth is filled with


def as_tensor(images: Image) -> Tensor:
    """Pictures (..., S, S, C) uint8 as (..., C, S, S) float32 from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3))).float() / 255


def conditions(base: Tensor, maps: Tensor, reference: Tensor, reference_maps: Tensor) -> Tensor:
    """The condition (B, F, 18, S, S).

    Args:
        base: (B, F, 3, S, S) the warped photo without a mouth, see ``without_mouth``; -1 to 1.
        maps: (B, F, 5, S, S) landmark maps, 0 to 1; zeros where the network is to do without landmarks.
        reference: (B, 3, S, S) the photo's own square, -1 to 1.
        reference_maps: (B, 5, S, S) its landmark maps, 0 to 1.
    """
    batch, frames, _, size, _ = base.shape
    line = torch.linspace(-1, 1, size, device=base.device)
    place = torch.stack(torch.meshgrid(line, line, indexing="ij")).expand(batch, -1, -1, -1)
    still = torch.cat([reference, reference_maps, place], 1)[:, None].expand(-1, frames, -1, -1, -1)
    return torch.cat([base, maps, still], 2)


def without_mouth(warped: Tensor, inner_lips: Tensor) -> Tensor:
    """Frames (B, F, 3, S, S) with what lies between the lips painted over from around it.

    What the mesh renderer draws there would leave specks in a picture that is predicted as a change of it.
    ``inner_lips`` (B, F, 1, S, S) is its landmark map, 0 to 1.
    """
    frames, inside = warped.flatten(0, 1), inner_lips.flatten(0, 1)
    inside = F.avg_pool2d(F.max_pool2d(inside, 3, 1, 1), 3, 1, 1)
    around = F.avg_pool2d(torch.cat([frames * (1 - inside), 1 - inside], 1), _COARSER)
    for _ in range(3):
        around = F.avg_pool2d(around, 3, 1, 1, count_include_pad=False)
    filled = F.interpolate(around[:, :3] / around[:, 3:].clamp(min=1e-3), scale_factor=float(_COARSER), mode="bilinear")
    return (frames + inside * (filled - frames)).reshape(warped.shape)
