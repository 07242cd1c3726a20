"""The part of a picture that Hopenet sees, prepared as in its ``test_on_video_dlib.py``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kptalk.types import Image

SIDE = 224  # pixels
# Of ImageNet, for values from 0 to 1.
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def with_margins(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a picture that is shown for a face box (x0, y0, x1, y1): twice as wide and high, inside the picture.

    Half a box more on the left and right, three quarters above, one quarter below.
    """
    x0, y0, x1, y1 = box
    w, h = abs(x1 - x0), abs(y1 - y0)
    left, top = max(0, int(x0 - w / 2)), max(0, int(y0 - 3 * h / 4))
    return left, top, min(width, int(x1 + w / 2)), min(height, int(y1 + h / 4))


def center_crop(crop: Image) -> Image:
    """A crop (H, W, 3) uint8 RGB with its shorter side at 224 and the longer one cut to 224: (224, 224, 3).

    Antialiased, on whole levels, like Pillow's bilinear filter; where that rounds otherwise it is one level.
    """
    height, width = crop.shape[:2]
    shorter = min(height, width)
    size = (int(SIDE * height / shorter), int(SIDE * width / shorter))
    pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None]
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    top, left = (round((side - SIDE) / 2) for side in size)
    cut: Image = resized[0, :, top : top + SIDE, left : left + SIDE].permute(1, 2, 0).numpy()
    return cut


def prepare(crop: Image) -> Tensor:
    """A crop (H, W, 3) uint8 RGB as the network wants it, (3, 224, 224) float32."""
    levels = torch.from_numpy(center_crop(crop).copy()).permute(2, 0, 1).float() / 255
    return (levels - MEAN) / STD
