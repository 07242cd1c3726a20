"""The renderer of landmark-guided diffusion: the mesh renderer's frames, their faces drawn by a denoiser.

Every frame is warped first; the warped square, with landmark maps and the photo's own square, is the denoiser's
condition. Windows of frames are drawn together, with the same noise, and overlap; where they meet depends on the
frames' numbers alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from kptalk.face.framing import Edge
from kptalk.face.geometry import rotation_matrix
from kptalk.face.measures import lip_gap
from kptalk.face.topology import OVAL
from kptalk.motion.facemesh.space import FaceMeshSource
from kptalk.render.latent.composite import detail_share, in_domain, paste_back
from kptalk.render.latent.conditions import as_tensor
from kptalk.render.latent.denoiser import FrameDenoiser, Window
from kptalk.render.latent.landmark_maps import landmark_maps
from kptalk.render.latent.square import apply_map, cut_square, square_maps, square_middle
from kptalk.render.mesh.mouth import moved_share, skin_colour
from kptalk.render.mesh.pose import RigidMotion, clamp_pose, rigid_motion
from kptalk.render.mesh.renderer import MeshRenderer, PreparedMesh, draw_vertices
from kptalk.types import Array, Image, Motion, Portrait

NEW, CONTEXT = 8, 2  # frames that a window draws, and that it shares with the next on either side


@dataclass(frozen=True)
class PreparedLatent:
    """One photo, as the mesh renderer has prepared it, and its own square: (1, 3, S, S) and maps (1, 5, S, S)."""

    mesh: PreparedMesh
    middle: Array  # (3,) of the square, in the head's frame
    reference: Tensor
    reference_maps: Tensor
    in_domain: float  # weight of the denoiser's picture against the mesh renderer's


class WarpedFrame(NamedTuple):
    """One frame that waits to be drawn."""

    frame: Image  # (H, W, 3)
    affine: Array  # (2, 3) to the square
    square: Image  # (S, S, 3)
    maps: Image  # (S, S, 5)
    outline: Array  # (36, 2) of the face, in the square
    detail: float  # of the mesh renderer's that stays between the lips
    moved: float  # how far the lips are from the photo's own, 0 to 1


@dataclass(frozen=True)
class LatentState:
    """``waiting`` frames, of which the first ``past`` are drawn; ``noise`` (1, 1, *noise_shape), that of all frames."""

    prepared: PreparedLatent
    noise: Tensor
    waiting: tuple[WarpedFrame, ...] = ()
    past: int = 0


@dataclass(frozen=True)
class LatentRenderer:
    """A ``Renderer`` around a mesh renderer and the denoiser that draws its faces."""

    name = "latent"
    mesh: MeshRenderer
    denoiser: FrameDenoiser
    steps: int = 1
    guidance: float = 1.0

    @property
    def size(self) -> int:
        """Side of the square, in its own pixels."""
        return self.denoiser.size

    def with_drawing(self, steps: int | None, guidance: float | None) -> LatentRenderer:
        return replace(self, steps=steps or self.steps, guidance=self.guidance if guidance is None else guidance)

    def prepare(self, portrait: Portrait, free: Collection[Edge] = ()) -> PreparedLatent:
        mesh = self.mesh.prepare(portrait, free)
        middle, landmarks = square_middle(mesh.source.neutral), portrait.face.landmarks
        affine = self._square(mesh.source, mesh.source.motion, middle)[0]
        square = cut_square(portrait.image, affine, self.size)
        maps = landmark_maps(apply_map(affine, landmarks), self.size)
        device = self.denoiser.device
        tensors = (2 * as_tensor(square[None]) - 1).to(device), as_tensor(maps[None]).to(device)
        return PreparedLatent(mesh, middle, *tensors, in_domain(skin_colour(portrait.image, landmarks)))

    def source(self, prepared: PreparedLatent) -> FaceMeshSource:
        return prepared.mesh.source

    def start(self, prepared: PreparedLatent, seed: int) -> LatentState:
        noise = np.random.default_rng([seed, 3]).standard_normal((1, 1, *self.denoiser.noise_shape), np.float32)
        return LatentState(prepared, torch.from_numpy(noise).to(self.denoiser.device))

    def step(self, motion: Motion, state: LatentState) -> tuple[Image, LatentState]:
        space, mesh = self.mesh.space, state.prepared.mesh
        motion.require_space(space.id, space.keypoints)
        motion, warped = clamp_pose(mesh.source, motion), []
        for i in range(len(motion)):
            one = motion[i : i + 1]  # a product over many frames rounds otherwise, and chunks would differ
            face = np.clip(space.vertices(mesh.source, one)[0], -mesh.raster.reach, mesh.raster.reach)
            affine = self._square(mesh.source, one, state.prepared.middle)[0]
            warped.append(self.warp(face, rigid_motion(mesh.source, motion, i), affine, state.prepared))
        return self.draw(warped, state)

    def warp(self, face: Array, head: RigidMotion, affine: Array, prepared: PreparedLatent) -> WarpedFrame:
        """The mesh renderer's frame for vertices (478, 3), and its square, which ``affine`` (2, 3) maps to."""
        frame, points = draw_vertices(prepared.mesh, face, head), apply_map(affine, face)
        square, maps = cut_square(frame, affine, self.size), landmark_maps(points, self.size)
        detail = detail_share(float(lip_gap(face)), prepared.mesh.mouth.own is not None)
        moved = moved_share(prepared.mesh.mouth, face, head)
        return WarpedFrame(frame, affine, square, maps, points[OVAL], detail, moved)

    def draw(self, warped: Sequence[WarpedFrame], state: LatentState) -> tuple[Image, LatentState]:
        """As ``step``, for frames that are warped already."""
        waiting, past, drawn = (*state.waiting, *warped), state.past, [self._none(state)]
        while len(waiting) >= past + NEW + CONTEXT:
            drawn.append(self._draw(waiting[: past + NEW + CONTEXT], past, past + NEW, state))
            first = max(0, past + NEW - CONTEXT)
            waiting, past = waiting[first:], past + NEW - first
        return np.concatenate(drawn), replace(state, waiting=waiting, past=past)

    def finish(self, state: LatentState) -> Image:
        if len(state.waiting) == state.past:
            return self._none(state)
        return self._draw(state.waiting, state.past, len(state.waiting), state)

    def _square(self, source: FaceMeshSource, motion: Motion, middle: Array) -> Array:
        scale, shift = source.unit * motion.scale[:, 0], source.origin + source.unit * motion.translation
        return square_maps(middle, scale, rotation_matrix(motion.rotation), shift, self.size)

    @torch.inference_mode()
    def _draw(self, window: tuple[WarpedFrame, ...], first: int, end: int, state: LatentState) -> Image:
        """Draw the faces of a window; frames from ``first`` to ``end`` of it."""
        frames, weight = np.stack([each.frame for each in window[first:end]]), state.prepared.in_domain
        if weight == 0:
            return frames
        squares, maps = (np.stack([getattr(each, name) for each in window]) for name in ("square", "maps"))
        pictures, drawn_maps = (as_tensor(each)[None].to(self.denoiser.device) for each in (squares, maps))
        known = Window(2 * pictures - 1, drawn_maps, state.prepared.reference, state.prepared.reference_maps)
        drawn = self.denoiser.draw(known, state.noise, self.steps, self.guidance)
        faces = ((drawn[0].permute(0, 2, 3, 1) + 1) * 127.5).cpu().numpy()
        for frame, face, each in zip(frames, faces[first:end], window[first:end], strict=True):
            paste_back(frame, face, each.square, each.affine, each.maps, each.outline, each.detail, each.moved)
            if weight < 1:
                cv2.addWeighted(frame, weight, each.frame, 1 - weight, 0, dst=frame)
        return frames

    def _none(self, state: LatentState) -> Image:
        return np.empty((0, *state.prepared.mesh.portrait.image.shape), np.uint8)
