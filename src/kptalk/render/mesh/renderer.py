"""The mesh renderer: a photo warped by the face mesh, eyes and mouth drawn into it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from kptalk.face.framing import Edge
from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace
from kptalk.render.mesh.eyes import Eye, close_lids, draw_eye, prepare_eye
from kptalk.render.mesh.matte import Layers, split_layers
from kptalk.render.mesh.mouth import Mouth, close_lips, draw_mouth, prepare_mouth
from kptalk.render.mesh.plane import Box
from kptalk.render.mesh.pose import RigidMotion, clamp_pose, rigid_motion
from kptalk.render.mesh.raster import Rasterizer
from kptalk.render.mesh.topology import build_mesh
from kptalk.render.renderer import refuse_drawing
from kptalk.types import Array, Image, Motion, Portrait

OCCLUSION_JUMP = 4.0  # pixels of the photo between neighbours of the frame: more than a stretch
_EDGES: dict[Edge, Any] = {"left": np.s_[:, :1], "right": np.s_[:, -1:], "top": np.s_[:1], "bottom": np.s_[-1:]}


@dataclass(frozen=True)
class PreparedMesh:
    """Everything about one photo that its frames need; never changed after ``prepare``."""

    portrait: Portrait
    source: FaceMeshSource
    layers: Layers
    raster: Rasterizer
    eyes: tuple[Eye, Eye]
    mouth: Mouth
    free: frozenset[Edge]


@dataclass(frozen=True)
class MeshRenderer:
    """A ``Renderer`` of the spaces ``facemesh`` and ``landmark``; a frame depends on nothing before it.

    Portraits are head and shoulders, the face about 40 % of the side; frames have the photo's size. At the edges that
    are not free their outermost pixels are the photo's.
    """

    name = "mesh"
    space: FaceMeshSpace

    def with_drawing(self, steps: int | None, guidance: float | None) -> MeshRenderer:
        refuse_drawing(self.name, steps, guidance)
        return self

    def prepare(self, portrait: Portrait, free: Collection[Edge] = ()) -> PreparedMesh:
        image, landmarks = portrait.image, portrait.face.landmarks
        source = self.space.extract(portrait)
        closed = source.origin + source.unit * (source.neutral @ rotation_matrix(source.motion.rotation[0]))
        layers = split_layers(image, landmarks)
        raster = Rasterizer(build_mesh(landmarks, layers.person[..., 3], free), image)
        eyes = prepare_eye(image, landmarks, 0), prepare_eye(image, landmarks, 1)
        mouth = prepare_mouth(image, landmarks, closed.astype(np.float32))
        return PreparedMesh(portrait, source, layers, raster, eyes, mouth, frozenset(free))

    def source(self, prepared: PreparedMesh) -> FaceMeshSource:
        return prepared.source

    def start(self, prepared: PreparedMesh, seed: int) -> PreparedMesh:
        return prepared

    def step(self, motion: Motion, state: PreparedMesh) -> tuple[Image, PreparedMesh]:
        motion.require_space(self.space.id, self.space.keypoints)
        motion = clamp_pose(state.source, motion)
        frames = np.empty((len(motion), *state.portrait.image.shape), np.uint8)
        for i in range(len(motion)):
            # One frame at a time: a product over many frames rounds otherwise, and chunks would differ.
            face = self.space.vertices(state.source, motion[i : i + 1])[0]
            face = np.clip(face, -state.raster.reach, state.raster.reach)
            frames[i] = draw_vertices(state, face, rigid_motion(state.source, motion, i))
        return frames, state

    def finish(self, state: PreparedMesh) -> Image:
        return np.empty((0, *state.portrait.image.shape), np.uint8)


def draw_vertices(prepared: PreparedMesh, face: Array, head: RigidMotion) -> Image:
    """One frame (H, W, 3) uint8 of the face's vertices (478, 3), pixels of the frame, and the head's rigid motion."""
    photo, landmarks = prepared.portrait.image, prepared.portrait.face.landmarks
    face = close_lips(close_lids(face, landmarks), landmarks)
    columns, rows, _ = sampling_map(prepared, face, head)
    frame = _composite(prepared.layers, columns, rows)
    _soften_jumps(frame, columns, rows, _face_box(face, photo))
    for eye in prepared.eyes:
        draw_eye(frame, eye, face, float(np.linalg.norm(head.matrix[1, :2])))
    draw_mouth(frame, prepared.mouth, face, head)
    for name, part in _EDGES.items():
        if name not in prepared.free:
            frame[part] = photo[part]
    return frame


def sampling_map(prepared: PreparedMesh, face: Array, head: RigidMotion) -> tuple[Array, Array, int]:
    """The warp alone: x and y (H, W) in the photo of each pixel, and how many pixels no triangle covers."""
    raster = prepared.raster
    return raster.sampling(raster.mesh.place(face, head), _face_box(face, prepared.portrait.image))


def _face_box(face: Array, image: Image) -> Box:
    """The part of an image that holds the face, a pixel at least."""
    low, high = np.floor(face[:, :2].min(0) - 8).astype(int), np.ceil(face[:, :2].max(0) + 9).astype(int)
    (x0, x1), (y0, y1) = np.clip([low, high], 0, image.shape[1::-1]).T.tolist()
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _soften_jumps(frame: Image, columns: Array, rows: Array, box: Box) -> None:
    """Smooth the steps where one part of the face hides another, in place."""
    x0, y0, x1, y1 = box
    jump = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for plane in (columns[y0:y1, x0:x1], rows[y0:y1, x0:x1]):
        jump[:, 1:] |= cv2.compare(cv2.absdiff(plane[:, 1:], plane[:, :-1]), OCCLUSION_JUMP, cv2.CMP_GT)
        jump[1:] |= cv2.compare(cv2.absdiff(plane[1:], plane[:-1]), OCCLUSION_JUMP, cv2.CMP_GT)
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
