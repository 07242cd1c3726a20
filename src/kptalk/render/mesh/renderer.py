"""The mesh renderer: a photo warped by the face mesh, eyes and mouth drawn into it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np

from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace
from kptalk.render.mesh.eyes import Eye, draw_eyes, prepare_eyes, seal_lids
from kptalk.render.mesh.matte import Layers, split
from kptalk.render.mesh.mouth import Mouth, draw_mouth, prepare_mouth, seal_lips
from kptalk.render.mesh.pose import clamp_pose
from kptalk.render.mesh.raster import Box, Rasterizer
from kptalk.render.mesh.topology import Edge, Mesh, build
from kptalk.types import Array, Image, Motion, Portrait

JUMP = 4.0  # pixels of the photo between neighbours of the frame: more than a stretch
_EDGES: dict[Edge, tuple[slice, slice]] = {
    "left": (slice(None), slice(0, 1)),
    "right": (slice(None), slice(-1, None)),
    "top": (slice(0, 1), slice(None)),
    "bottom": (slice(-1, None), slice(None)),
}


@dataclass(frozen=True)
class PreparedMesh:
    """Everything about one photo that its frames need; never changed after ``prepare``."""

    portrait: Portrait
    source: FaceMeshSource
    layers: Layers
    mesh: Mesh
    raster: Rasterizer
    eyes: tuple[Eye, Eye]
    mouth: Mouth
    free: frozenset[Edge]


class MeshRenderer:
    """Draws motion of the space ``facemesh`` on a photo; holds no state of its own, so threads may share it."""

    name = "mesh"

    def __init__(self, space: FaceMeshSpace) -> None:
        self.space = space

    def prepare(self, portrait: Portrait, free: Collection[Edge] = ()) -> PreparedMesh:
        """Read a photo once.

        Args:
            portrait: head and shoulders, face about 40 % of the side; any size.
            free: edges at which the picture may move, because they are the photo's own; at the others the frames'
                outermost pixels are the photo's.
        """
        source = self.space.extract(portrait)
        landmarks = portrait.face.landmarks
        closed = source.origin + source.unit * (source.neutral @ rotation_matrix(source.motion.rotation[0]))
        size = portrait.image.shape[0], portrait.image.shape[1]
        layers = split(portrait.image, landmarks)
        mesh = build(landmarks, layers.person[..., 3], free)
        return PreparedMesh(
            portrait=portrait,
            source=source,
            layers=layers,
            mesh=mesh,
            raster=Rasterizer(mesh, size),
            eyes=prepare_eyes(portrait.image, landmarks),
            mouth=prepare_mouth(portrait.image, landmarks, closed.astype(np.float32)),
            free=frozenset(free),
        )

    def source(self, prepared: PreparedMesh) -> FaceMeshSource:
        """See ``Renderer``."""
        return prepared.source

    def start(self, prepared: PreparedMesh, seed: int) -> PreparedMesh:
        """See ``Renderer``: nothing is remembered from frame to frame."""
        return prepared

    def finish(self, state: PreparedMesh) -> Image:
        """See ``Renderer``."""
        return np.empty((0, *state.portrait.image.shape), np.uint8)

    def step(self, motion: Motion, state: PreparedMesh) -> tuple[Image, PreparedMesh]:
        """Frames (T, H, W, 3) uint8 RGB of the photo's own size.

        Raises:
            MotionError: the motion belongs to another motion space.
        """
        motion.require_space(self.space.id)
        motion = clamp_pose(state.source, motion)
        frames = np.empty((len(motion), *state.portrait.image.shape), np.uint8)
        for i in range(len(motion)):
            # One frame at a time: a product over many frames rounds otherwise, and chunks would differ.
            face = self.space.vertices(state.source, motion[i : i + 1])[0]
            matrix, offset = rigid_motion(state.source, motion, i)
            frames[i] = draw_vertices(state, face, matrix, offset)
        return frames, state


def rigid_motion(source: FaceMeshSource, motion: Motion, frame: int) -> tuple[Array, Array]:
    """How the head of the photo moves to frame ``frame``: q -> q @ matrix + offset, pixels; (3, 3) and (3,)."""
    own = source.motion
    back = rotation_matrix(own.rotation[0]).T / own.scale[0]
    matrix = back @ rotation_matrix(motion.rotation[frame]) * motion.scale[frame]
    start = source.origin + source.unit * own.translation[0]
    end = source.origin + source.unit * motion.translation[frame]
    return matrix.astype(np.float32), (end - start @ matrix).astype(np.float32)


def draw_vertices(state: PreparedMesh, face: Array, matrix: Array, offset: Array) -> Image:
    """One frame (H, W, 3) uint8.

    Args:
        state: of the photo.
        face: (478, 3) pixels of the frame.
        matrix: (3, 3) of the head's rigid motion q -> q @ matrix + offset, pixels.
        offset: (3,) of it.
    """
    photo = state.portrait.image
    face = seal_lips(seal_lids(face, state.portrait.face.landmarks), state.portrait.face.landmarks)
    columns, rows, _ = sampling_map(state, face, matrix, offset)
    frame = _composite(state.layers, columns, rows)
    _soften_jumps(frame, columns, rows, _face_box(face, (photo.shape[0], photo.shape[1])))
    vertical = float(np.linalg.norm(matrix[1, :2]))
    draw_eyes(frame, state.eyes, face, vertical)
    draw_mouth(frame, state.mouth, face, matrix, offset)
    for name, part in _EDGES.items():
        if name not in state.free:
            frame[part] = photo[part]
    return frame


def sampling_map(state: PreparedMesh, face: Array, matrix: Array, offset: Array) -> tuple[Array, Array, int]:
    """The warp alone: x and y (H, W) in the photo of each pixel, and how many pixels no triangle covers."""
    height, width = state.portrait.image.shape[:2]
    vertices = state.mesh.place(face, matrix, offset)
    return state.raster.sampling(vertices, _face_box(face, (height, width)))


def _face_box(face: Array, size: tuple[int, int]) -> Box:
    low = np.floor(face[:, :2].min(0) - 8).astype(int)
    high = np.ceil(face[:, :2].max(0) + 9).astype(int)
    x0, x1 = np.clip([low[0], high[0]], 0, size[1])
    y0, y1 = np.clip([low[1], high[1]], 0, size[0])
    return int(x0), int(y0), int(max(x1, x0 + 1)), int(max(y1, y0 + 1))


def _soften_jumps(frame: Image, columns: Array, rows: Array, box: Box) -> None:
    """Smooth the steps where one part of the face hides another, in place."""
    x0, y0, x1, y1 = box
    jump = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for plane in (columns[y0:y1, x0:x1], rows[y0:y1, x0:x1]):
        jump[:, 1:] |= cv2.compare(cv2.absdiff(plane[:, 1:], plane[:, :-1]), JUMP, cv2.CMP_GT)
        jump[1:] |= cv2.compare(cv2.absdiff(plane[1:], plane[:-1]), JUMP, cv2.CMP_GT)
    if jump.any():
        part = frame[y0:y1, x0:x1]
        cv2.copyTo(cv2.GaussianBlur(part, (3, 3), 0.8), cv2.dilate(jump, np.ones((3, 3), np.uint8)), part)


def _composite(layers: Layers, columns: Array, rows: Array) -> Image:
    """The warped person over the still background."""
    person = cv2.remap(layers.person, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.extractChannel(person, 3)
    behind = cv2.cvtColor(255 - alpha, cv2.COLOR_GRAY2RGB)
    behind = cv2.multiply(layers.background, behind, scale=1 / 255)
    return np.asarray(cv2.add(cv2.cvtColor(person, cv2.COLOR_RGBA2RGB), behind))
