"""One triangle mesh over the whole picture: FaceMesh's 478 points, rings and a grid around them, the picture's edge.

Inside the face the triangles follow the landmarks. Around it, hair and ears move rigidly with the head, the neck
shears, the shoulders and the picture's edge stand still; everything is continuous across the face's outline.
"""

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.face.framing import Edge
from kptalk.face.geometry import smoothstep
from kptalk.face.topology import OVAL, TRIANGLES
from kptalk.render.mesh.pose import RigidMotion
from kptalk.types import Array, Floats

RING_FACTORS = (1.06, 1.14, 1.26, 1.42)  # of the oval, about its centre
GRID_POINTS = 17  # points along the longer side of the picture, outside the rings
EDGE_FADE = (0.04, 0.14)  # of the shorter side: how far from an edge motion fades, of background and of person
CORNER_FADE = (0.14, 0.45)  # of the shorter side: how far from the picture's corners motion begins, and is whole
CORNER = 0.2  # of the shorter side: where a person counts as being in the corner
HEAD_DEPTH = 0.9  # how much deeper hair and ears lie than the outline, per relative distance from it, in eye distances
MAX_SLOPE = 3.5  # slope of the face's depth near its outline
JAW_REACH = 0.55  # of the face's radius: how far the outline's own deformation (the jaw) reaches into the neck


@dataclass(frozen=True)
class Mesh:
    """The mesh of one photo: N vertices (the face's 478 first), M triangles."""

    source: Array  # (N, 3) pixels in the photo; z of the outer vertices is estimated
    rigid: Array  # (N - 478, 3) how much an outer vertex follows the head's rigid motion in x, y, z, 0 to 1
    flatter: Array  # (478,) pixels by which the sides of the face are taken to lie nearer than they do
    jaw: Array  # (N - 478, 36) how much an outer vertex follows the outline's own deformation
    triangles: NDArray[np.int32]  # (M, 3) vertex numbers; the face's ``TRIANGLES`` come first

    def place(self, face: Array, head: RigidMotion) -> Array:
        """All vertices (N, 3) for a frame: the face's (478, 3) in pixels, and the rigid motion of the head."""
        outer = self.source[478:]
        residual = face[OVAL] - head.apply(self.source[OVAL])
        moved = outer + self.rigid * (head.apply(outer) - outer) + self.jaw @ residual
        face = face.copy()
        face[:, :2] += self.flatter[:, None] * head.matrix[2, :2]
        return np.asarray(np.concatenate([face, moved]), np.float32)


def build_mesh(landmarks: Array, person: NDArray[np.uint8], free: Collection[Edge] = ()) -> Mesh:
    """The mesh of a photo.

    Args:
        landmarks: (478, 3) pixels.
        person: (H, W) the photo's matte: where it reaches a still edge, the motion fades earlier.
        free: edges at which the picture may move, because nothing is beyond them.
    """
    height, width = person.shape
    oval: Array = landmarks[OVAL, :2]
    centre = (oval.min(0) + oval.max(0)) / 2
    down = landmarks[152, :2] - landmarks[10, :2]
    face_height = float(np.linalg.norm(down))
    down = down / face_height
    eyes = float(np.linalg.norm(landmarks[[33, 133]].mean(0) - landmarks[[362, 263]].mean(0)))

    beyond = 0.2 * max(height, width)
    x0, y0 = -beyond * ("left" in free), -beyond * ("top" in free)
    x1, y1 = width - 1 + beyond * ("right" in free), height - 1 + beyond * ("bottom" in free)
    step = max(height, width) / GRID_POINTS
    xs, ys = np.linspace(x0, x1, round((x1 - x0) / step) + 1), np.linspace(y0, y1, round((y1 - y0) / step) + 1)
    grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    rings = np.concatenate([centre + factor * (oval - centre) for factor in RING_FACTORS])

    def edge_distance(points: Array) -> Array:
        sides = np.stack([points[:, 0] - x0, x1 - points[:, 0], points[:, 1] - y0, y1 - points[:, 1]])
        return np.asarray(sides.min(0))

    rings = rings[edge_distance(rings) > 0.25 * step]
    on_edge = edge_distance(grid) < 1e-6
    angle, factor = _polar(grid, centre, oval)
    grid = grid[on_edge | (factor > RING_FACTORS[-1] + 0.5 * step / (0.5 * face_height))]
    outer = np.concatenate([rings, grid])

    angle, factor = _polar(outer, centre, oval)
    beside = np.clip(factor - 1, 0, None)
    share = _angular_weights(angle, np.arctan2(*(oval - centre).T[::-1]))
    flatter = _flatter(landmarks, _polar(landmarks[:, :2], centre, oval)[1])
    z = share @ (landmarks + flatter[:, None])[OVAL, 2] + HEAD_DEPTH * eyes * np.minimum(beside, 0.45)
    below = (outer - landmarks[152, :2]) @ down / face_height
    away = np.linalg.norm(outer - centre, axis=1) / face_height
    still = _fade(outer, person, free)
    rigid = (1 - smoothstep((below + 0.05) / 0.75)) * (1 - smoothstep((away - 1.25) / 0.6))
    rigid = rigid[:, None] * np.column_stack([still, still.min(1)])
    jaw = share * ((1 - smoothstep(beside / JAW_REACH)) * still.min(1))[:, None]

    points, numbers = np.concatenate([oval, outer]), np.concatenate([OVAL, 478 + np.arange(len(outer))])
    triangles = _delaunay(points)
    inside = _polar(points[triangles].mean(1), centre, oval)[1] < 1
    around = numbers[triangles[~(inside & (triangles < len(oval)).all(1))]]
    source = np.concatenate([landmarks, np.column_stack([outer, z])]).astype(np.float32)
    triangles = np.concatenate([TRIANGLES, around.astype(np.int32)])
    flatter = flatter.astype(np.float32)
    return Mesh(source, rigid.astype(np.float32), flatter, jaw.astype(np.float32), triangles)


def _delaunay(points: Floats) -> NDArray[np.int32]:
    """Delaunay's triangles (M, 3) over all points (N, 2), which differ from each other."""
    middle, reach = points.mean(0), 50 * int(np.ptp(points, 0).max() + 1)  # OpenCV's own three corners lie beyond it
    subdivision = cv2.Subdiv2D((*(middle - reach / 2).astype(int).tolist(), reach, reach))
    rounded = points.astype(np.float32)
    subdivision.insert(rounded)
    number = {tuple(point): k for k, point in enumerate(rounded.tolist())}
    corners = np.reshape(subdivision.getTriangleList(), (-1, 3, 2)).tolist()
    triangles = [[number.get(tuple(corner), -1) for corner in triangle] for triangle in corners]
    return np.array([triangle for triangle in triangles if -1 not in triangle], np.int32)


def _flatter(landmarks: Array, factor: Array) -> Array:
    """What to add to the depths (478,) so that they are nowhere too steep near the outline.

    There the photo shows a side of the head in a pixel or two. Turned towards the camera as it stands, those pixels
    would become a smear. What replaces the depths is the largest function of limited slope that lies below them.
    """
    apart = np.linalg.norm(landmarks[:, None, :2] - landmarks[:, :2], axis=-1)
    gentle = (landmarks[:, 2] + MAX_SLOPE * apart).min(1)
    return np.asarray(smoothstep((factor - 0.65) / 0.2) * (gentle - landmarks[:, 2]))


def _fade(points: Array, person: NDArray[np.uint8], free: Collection[Edge]) -> Array:
    """(N, 2) 0 where the picture must stand still in x and in y, 1 where it may move.

    It stands still at the corners that a person fills and at the edges that are not free. A person who is cut by an
    edge stays joined to it, but moves along it.
    """
    height, width = person.shape
    x, y = np.clip(points[:, 0], 0, width - 1), np.clip(points[:, 1], 0, height - 1)
    side = min(height, width)
    right, below = width - 1 - x, height - 1 - y
    fade = np.ones((len(points), 2), np.float32)
    near = round(CORNER * side)
    for part, across, down in (
        (person[:near, :near], x, y),
        (person[:near, -near:], right, y),
        (person[-near:, :near], x, below),
        (person[-near:, -near:], right, below),
    ):
        still = 1 - smoothstep((np.maximum(across, down) / side - CORNER_FADE[0]) / np.ptp(CORNER_FADE))
        fade = np.minimum(fade, 1 - (min(1.0, 10 * part.mean() / 255) * still)[:, None])
    for name, axis, distance, at, line in (
        ("left", 0, x, y, person[:, 0]),
        ("right", 0, right, y, person[:, -1]),
        ("top", 1, y, x, person[0]),
        ("bottom", 1, below, x, person[-1]),
    ):
        soft = _blurred(line / 255, 0.06 * len(line))
        person_there = np.clip(4 * np.interp(at, np.arange(len(line)), soft), 0, 1)
        joined = 1 - person_there * (1 - smoothstep(distance / (EDGE_FADE[1] * side)))
        fade[:, axis] = np.minimum(fade[:, axis], joined)
        if name not in free:
            fade = np.minimum(fade, np.minimum(joined, smoothstep(distance / (EDGE_FADE[0] * side)))[:, None])
    return np.asarray(fade, np.float32)


def _blurred(values: Floats, sigma: float) -> Floats:
    """Values (N,) blurred by a Gaussian; the outermost ones go on beyond the ends."""
    radius = round(4 * sigma)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, radius, "edge"), weights / weights.sum(), "valid")


def doubled_area(triangles: Array) -> Array:
    """Signed doubled areas of (M, 3, 2) triangles."""
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], np.float32)


def _polar(points: Array, centre: Array, oval: Array) -> tuple[Array, Array]:
    """Angle about the centre, and distance over the oval's radius at that angle."""
    angle = np.arctan2(*(points - centre).T[::-1])
    around = np.arctan2(*(oval - centre).T[::-1])
    radius = np.interp(angle, around, np.linalg.norm(oval - centre, axis=1), period=2 * np.pi)
    return angle, np.linalg.norm(points - centre, axis=1) / radius


def _angular_weights(angle: Array, around: Array) -> Array:
    """(N, 36) weights of the oval's points that are near in angle; each row sums to one."""
    apart = np.abs((angle[:, None] - around + np.pi) % (2 * np.pi) - np.pi)
    weights = np.exp(-((apart / 0.14) ** 2)) + 1e-9
    return np.asarray(weights / weights.sum(1, keepdims=True))
