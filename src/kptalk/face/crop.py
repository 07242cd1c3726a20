"""What the face networks look at: turned rectangles of a picture, sampled as MediaPipe does, and points in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from kptalk.errors import ImageError
from kptalk.types import Array, Floats, Image

BITS = 5
LARGEST = 2**15 - 2  # pixels along a side
STEPS = 1 << BITS  # positions from one pixel to the next that OpenCV's fixed-point interpolation knows


@dataclass(frozen=True)
class Region:
    """A rectangle in a picture, in pixels: its middle, its sides, and its turn in radians, clockwise as one sees it."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def cut(self, image: Image, side: int, *, repeat_edges: bool = False) -> Image:
        """(H, W, 3) -> (side, side, 3) uint8, bilinear without reduction of detail.

        Pixel (u, v) is sampled at u / side of the width and v / side of the height; whole numbers are the middles of
        pixels on both sides. MediaPipe's networks are used to this, half a pixel off as it is. Beyond the picture it is
        black, or goes on as at the edge. This is what OpenCV 4's warpPerspective does, which MediaPipe calls; from
        version 5 on that rounds no more, and the landmarks would move by up to a pixel.
        """
        linear = self._axes() / side
        steps = np.arange(side) - side / 2
        x, y = (
            np.rint(STEPS * (row[0] * steps + (row[1] * steps + middle)[:, None])).astype(np.int32)
            for row, middle in zip(linear, (self.x, self.y), strict=True)
        )
        pixels = np.dstack([x >> BITS, y >> BITS]).clip(-(2**15), 2**15 - 1).astype(np.int16)
        between = ((y & (STEPS - 1)) << BITS | (x & (STEPS - 1))).astype(np.uint16)
        border = cv2.BORDER_REPLICATE if repeat_edges else cv2.BORDER_CONSTANT
        return np.asarray(cv2.remap(image, pixels, between, cv2.INTER_LINEAR, borderMode=border), np.uint8)

    def to_picture(self, points: Floats) -> Array:
        """Points (..., 2) in sides of the region, 0 to 1, to pixels of the picture, float32."""
        return np.asarray((points - 0.5) @ self._axes().T + (self.x, self.y), np.float32)

    def _axes(self) -> Floats:
        """The region's sides as columns, (2, 2)."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]]) * (self.width, self.height)


def whole(image: Image, *, square: bool = False) -> Region:
    """All of a picture; as a square with bars at two edges if wanted."""
    height, width = image.shape[:2]
    side = max(width, height)
    return Region(width / 2, height / 2, side if square else width, side if square else height)


def as_rgb(image: Image) -> Image:
    """A picture of grey values (H, W) or (H, W, 1), RGB or RGBA as (H, W, 3), in one piece; alpha is left out.

    Raises:
        ImageError: it is no such array of uint8, or larger than OpenCV can sample.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.dtype != np.uint8:
        raise ImageError(f"not a picture: {image.dtype} of shape {image.shape} instead of uint8 (H, W, 3)")
    if max(image.shape) > LARGEST:
        raise ImageError(f"the picture has {image.shape[1]}x{image.shape[0]} pixels: scale it to {LARGEST} at most")
    if image.shape[2] == 1:
        image = np.repeat(image, 3, 2)
    return np.ascontiguousarray(image[..., :3])


def as_tensor(crops: Sequence[Image]) -> torch.Tensor:
    """N crops (n, n, 3) as (N, 3, n, n) float32, 0 to 255, in channels-last layout."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
