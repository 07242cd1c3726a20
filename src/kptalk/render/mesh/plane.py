"""Small frames of reference in a picture, along an eye or a mouth and across it, and the pixels that they cover."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kptalk.types import Array, Image

Box = tuple[int, int, int, int]  # pixels: x0, y0, x1, y1, end excluded


class Plane(NamedTuple):
    """A frame of two axes: a point (u, v) of it lies at pixel ``origin + u * along + v * across``; all three (2,)."""

    origin: Array
    along: Array
    across: Array

    @classmethod
    def between(cls, a: Array, b: Array) -> Plane:
        """From pixel ``a`` (0, 0) to pixel ``b`` (1, 0); v points down where ``b`` is to the right of ``a``."""
        along = b - a
        return cls(a, along, np.array([-along[1], along[0]], np.float32))

    @property
    def width(self) -> float:
        """Length of ``along`` in pixels."""
        return float(np.linalg.norm(self.along))

    @property
    def inverse(self) -> Array:
        """(2, 2) float64: (pixel - origin) @ inverse is (u, v)."""
        return np.asarray(np.linalg.inv(np.stack([self.along, self.across]).astype(np.float64)))

    def pixels(self, u: Array, v: Array) -> Array:
        """(...) and (...) to pixels (..., 2)."""
        return np.asarray(self.origin + u[..., None] * self.along + v[..., None] * self.across)

    def grid(self, box: Box) -> tuple[Array, Array]:
        """u and v of the pixels of ``box``, both (h, w) float32."""
        to = self.inverse.astype(np.float32)
        x = np.arange(box[0], box[2], dtype=np.float32) - np.float32(self.origin[0])
        y = (np.arange(box[1], box[3], dtype=np.float32) - np.float32(self.origin[1]))[:, None]
        return x * to[0, 0] + y * to[1, 0], x * to[0, 1] + y * to[1, 1]


def box_around(points: Array, pad: float, image: Image) -> Box:
    """The pixels of an image around points (N, 2) with ``pad`` more at every side; empty where they lie outside."""
    x0, y0 = np.maximum(np.floor(points.min(0) - pad).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(points.max(0) + pad).astype(int) + 1, image.shape[1::-1])
    return int(x0), int(y0), int(x1), int(y1)


def increasing(line: Array) -> Array:
    """A line (N, 2) of u and v whose u never falls, so that it can be read at any u."""
    line = line.copy()
    line[:, 0] = np.maximum.accumulate(line[:, 0] + 1e-4 * np.arange(len(line)))
    return line


def height(line: Array, u: Array) -> Array:
    """v of a line (N, 2) at ``u`` (...), float32."""
    return np.interp(u, line[:, 0], line[:, 1]).astype(np.float32)
