"""Triangles to a sampling map: where in the photo each pixel of a frame comes from.

Each triangle's affine map is exact, so a pixel that is given to a neighbour of its own triangle is off by less than
a pixel; nothing shimmers. Triangles that turned over go below the others, the rest are drawn from back to front.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.render.mesh.topology import Mesh, doubled_area
from kptalk.types import Array

COARSE = 4  # pixels: raster step outside the face, where the map is smooth
LEAST_AREA = 0.6  # doubled area in pixels below which a triangle is left out: its map would be noise
SUBPIXEL = 4  # bits

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, end excluded


class Rasterizer:
    """Sampling maps of one photo's mesh; holds what does not change from frame to frame."""

    def __init__(self, mesh: Mesh, size: tuple[int, int]) -> None:
        self.mesh = mesh
        self.height, self.width = size
        columns, rows = np.meshgrid(np.arange(self.width, dtype=np.float32), np.arange(self.height, dtype=np.float32))
        self.identity = np.stack([columns, rows], -1)
        down = (-(-self.height // COARSE), -(-self.width // COARSE))
        at = (COARSE - 1) / 2 + COARSE * np.stack(np.meshgrid(np.arange(down[1]), np.arange(down[0])), -1)
        self.coarse = at.astype(np.float32)
        self.corners = mesh.source[mesh.triangles, :2]

    def displacement(self, vertices: Array, fine: Box) -> Array:
        """(H, W, 2) float32: source minus target position of every pixel.

        Args:
            vertices: (N, 3) pixels of the frame; z orders the triangles.
            fine: the part of the picture that is drawn at full resolution.
        """
        triangles = self.mesh.triangles
        target = vertices[triangles]
        area = doubled_area(target[:, :, :2])
        affine = self._affine(target[:, :, :2], area)
        depth = target[:, :, 2].sum(1)
        depth[area * self.mesh.orientation < 0] += 1e6
        order = np.argsort(-depth, kind="stable")
        order = order[np.abs(area[order]) > LEAST_AREA]

        ids = np.full(self.coarse.shape[:2], -1, np.int32)
        self._fill(ids, (target[:, :, :2] - (COARSE - 1) / 2) / COARSE, order)
        coarse = self._lookup(affine, ids, self.coarse)
        shape = (self.coarse.shape[1] * COARSE, self.coarse.shape[0] * COARSE)
        out = cv2.resize(coarse, shape, interpolation=cv2.INTER_LINEAR)[: self.height, : self.width]

        x0, y0, x1, y1 = fine
        low, high = target[:, :, :2].min(1), target[:, :, :2].max(1)
        near = ((low[:, 0] < x1) & (high[:, 0] > x0 - 1) & (low[:, 1] < y1) & (high[:, 1] > y0 - 1))[order]
        ids = np.full((y1 - y0, x1 - x0), -1, np.int32)
        self._fill(ids, target[:, :, :2] - np.float32([x0, y0]), order[near])
        part = self._lookup(affine, ids, self.identity[y0:y1, x0:x1])
        hole = ids < 0
        if hole.any():
            part[hole] = out[y0:y1, x0:x1][hole]
        out[y0:y1, x0:x1] = part
        return np.asarray(out)

    def _affine(self, target: Array, area: Array) -> Array:
        """(M, 6): displacement = (a x + b y + c, d x + e y + f) of the pixels of each target triangle."""
        difference = self.corners - target
        t1, t2 = target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]
        d1, d2 = difference[:, 1] - difference[:, 0], difference[:, 2] - difference[:, 0]
        scale = 1 / np.where(np.abs(area) > LEAST_AREA, area, 1)[:, None]
        by_x = (d1 * t2[:, 1:] - d2 * t1[:, 1:]) * scale
        by_y = (d2 * t1[:, :1] - d1 * t2[:, :1]) * scale
        constant = difference[:, 0] - by_x * target[:, 0, :1] - by_y * target[:, 0, 1:]
        return np.concatenate([by_x, by_y, constant], 1).astype(np.float32)

    def _fill(self, ids: NDArray[np.int32], points: Array, order: NDArray[np.int64]) -> None:
        corners = np.rint(points * (1 << SUBPIXEL)).astype(np.int32)
        fill = cv2.fillConvexPoly
        for number in order.tolist():
            fill(ids, corners[number], number, 8, SUBPIXEL)

    @staticmethod
    def _lookup(affine: Array, ids: NDArray[np.int32], at: Array) -> Array:
        """Displacements (h, w, 2) at positions ``at`` (h, w, 2); zero where no triangle was drawn."""
        table = np.concatenate([affine, np.zeros((1, 6), np.float32)])
        c = np.take(table, ids.ravel(), axis=0, mode="wrap").reshape(*ids.shape, 6)
        return c[..., :2] * at[..., :1] + c[..., 2:4] * at[..., 1:] + c[..., 4:]
