"""Triangles to a sampling map: where in the photo each pixel of a frame comes from.

Each triangle's affine map is exact, so a pixel that is given to a neighbour of its own triangle is off by less than
a pixel; nothing shimmers. Triangles that turned over, or are so squeezed that a pixel beside them would be far off, go
below the others; the rest are drawn from back to front.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.face.topology import TRIANGLES
from kptalk.render.mesh.plane import Box
from kptalk.render.mesh.topology import Mesh, doubled_area
from kptalk.types import Array, Floats, Image

COARSE_STEP = 4  # pixels: raster step outside the face, where the map is smooth
COARSE_MIDDLE = (COARSE_STEP - 1) / 2  # of a coarse cell, from the middle of its first pixel
MIN_AREA = 0.6  # doubled area in pixels below which a triangle is left out: its map would be noise
MIN_AREA_RATIO = 0.15  # of a triangle's area in the photo
SUBPIXEL_BITS = 4  # of the corners' coordinates
MIN_MOVE = 0.004  # pixels: vertices that move less do not move
REACH = 4  # sides of the photo: how far outside of it a vertex may lie; polygons with corners at 1e9 never end


class Rasterizer:
    """Sampling maps of one photo's mesh; holds what does not change from frame to frame."""

    def __init__(self, mesh: Mesh, image: Image) -> None:
        self.mesh = mesh
        self.height, self.width = image.shape[:2]
        sizes = self.width, self.height
        self.reach = float(REACH * max(sizes))
        self.columns, self.rows = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in sizes))
        coarse = (COARSE_MIDDLE + COARSE_STEP * np.arange(-(-n // COARSE_STEP), dtype=np.float32) for n in sizes)
        self.coarse_columns, self.coarse_rows = np.meshgrid(*coarse)
        self.corners = mesh.source[mesh.triangles, :2]
        area = doubled_area(self.corners)
        self.area, self.orientation = np.abs(area), np.sign(area)

    def sampling(self, vertices: Array, fine: Box) -> tuple[Array, Array, int]:
        """Where each pixel of the frame comes from: x and y, both (H, W) float32; and how many pixels of ``fine``
        no triangle covers (they are filled from around).

        ``vertices`` (N, 3) are pixels of the frame, z orders the triangles; ``fine`` is the part of the picture that
        holds the face and is drawn at full resolution.
        """
        vertices = np.clip(vertices, -self.reach, self.reach)
        target = vertices[self.mesh.triangles]
        area = doubled_area(target[:, :, :2])
        affine = self._affine(target[:, :, :2], area)
        depth = target[:, 0, 2] + target[:, 1, 2] + target[:, 2, 2]
        depth[area * self.orientation < MIN_AREA_RATIO * self.area] += 1e6
        order = np.argsort(-depth, kind="stable")
        order = order[np.abs(area[order]) > MIN_AREA]

        x0, y0, x1, y1 = fine
        a, b, c = target[:, 0, :2], target[:, 1, :2], target[:, 2, :2]
        low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)

        # Around the face; where nothing is drawn, nothing moves.
        moved = np.abs(vertices[:, :2] - self.mesh.source[:, :2]) > MIN_MOVE
        moves = (moved[:, 0] | moved[:, 1])[self.mesh.triangles]
        moves = moves[:, 0] | moves[:, 1] | moves[:, 2]
        moves[: len(TRIANGLES)] = False
        margin = 2 * COARSE_STEP
        moves &= ~((low > (x0 + margin, y0 + margin)) & (high < (x1 - margin, y1 - margin))).all(1)
        ids = np.full(self.coarse_rows.shape, -1, np.int32)
        self._fill(ids, (target[:, :, :2] - COARSE_MIDDLE) / COARSE_STEP, order[moves[order]])
        coarse = self._lookup(affine, ids, self.coarse_columns, self.coarse_rows)
        large = (cv2.resize(plane, None, fx=COARSE_STEP, fy=COARSE_STEP) for plane in coarse)
        planes = [plane[: self.height, : self.width] for plane in large]

        near = ((low[:, 0] < x1) & (high[:, 0] > x0 - 1) & (low[:, 1] < y1) & (high[:, 1] > y0 - 1))[order]
        ids = np.full((y1 - y0, x1 - x0), -1, np.int32)
        self._fill(ids, target[:, :, :2] - np.array([x0, y0], np.float32), order[near])
        box = np.s_[y0:y1, x0:x1]
        hole = ids < 0
        unfilled = int(np.count_nonzero(hole))
        for plane, part in zip(planes, self._lookup(affine, ids, self.columns[box], self.rows[box]), strict=True):
            plane[box] = part if not unfilled else np.where(hole, plane[box], part)
        return cv2.add(planes[0], self.columns), cv2.add(planes[1], self.rows), unfilled

    def _affine(self, target: Array, area: Array) -> Array:
        """(6, M + 1): the displacement over each target triangle is rows 0, 2, 4 by x, y, 1 in x, rows 1, 3, 5 in y.

        The last column is for pixels of no triangle: no displacement.
        """
        difference = self.corners - target
        t1, t2 = target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]
        d1, d2 = difference[:, 1] - difference[:, 0], difference[:, 2] - difference[:, 0]
        scale = 1 / np.where(np.abs(area) > MIN_AREA, area, 1)[:, None]
        by_x = (d1 * t2[:, 1:] - d2 * t1[:, 1:]) * scale
        by_y = (d2 * t1[:, :1] - d1 * t2[:, :1]) * scale
        constant = difference[:, 0] - by_x * target[:, 0, :1] - by_y * target[:, 0, 1:]
        table = np.zeros((6, len(area) + 1), np.float32)
        table[:, :-1] = np.concatenate([by_x, by_y, constant], 1).T
        return table

    def _fill(self, ids: NDArray[np.int32], points: Floats, order: NDArray[np.int64]) -> None:
        corners = np.rint(points[order] * (1 << SUBPIXEL_BITS)).astype(np.int32)
        fill = cv2.fillConvexPoly
        for number, triangle in zip(order.tolist(), corners, strict=True):
            fill(ids, triangle, number, 8, SUBPIXEL_BITS)

    @staticmethod
    def _lookup(affine: Array, ids: NDArray[np.int32], columns: Floats, rows: Floats) -> list[Array]:
        """Displacements in x and y (h, w) at the given positions; id -1 stands for no triangle."""
        planes = []
        for axis in (0, 1):
            plane = affine[axis].take(ids, mode="wrap")
            plane *= columns
            by_y = affine[axis + 2].take(ids, mode="wrap")
            by_y *= rows
            plane += by_y
            plane += affine[axis + 4].take(ids, mode="wrap")
            planes.append(plane)
        return planes
