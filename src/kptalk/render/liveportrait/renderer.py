"""LivePortrait's renderer: the square around a face, drawn with any motion of the space ``liveportrait``.

Once a photo: appearance volume, source keypoints x_s, and what closes its lids. Every frame: driving keypoints x_d,
which stitching corrects so that the square's edges stay; they warp the volume, and the decoder makes pixels of it.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kptalk.face.framing import EDGES, Edge
from kptalk.face.topology import EYE_CORNERS, LID_PAIRS
from kptalk.motion.liveportrait.space import LivePortraitSource, LivePortraitSpace, crops_to_tensor, keypoints
from kptalk.networks.appearance import AppearanceExtractor
from kptalk.networks.stitching import StitchingNetwork, retarget, stitch
from kptalk.render.liveportrait.networks import Decode, Warp
from kptalk.render.renderer import refuse_drawing
from kptalk.types import Array, Image, Motion, Portrait

SIZE = 512  # pixels, side of a frame
REACH = 100.0  # how far from its middle a keypoint of the crop, which reaches from -1 to 1, may lie
MIDDLE = LID_PAIRS.shape[1] // 2  # of the pairs on the lids, the one above the iris


@dataclass(frozen=True)
class PreparedPortrait:
    """Everything about one photo that its frames need."""

    source: LivePortraitSource
    volume: Tensor  # (1, 32, 16, 64, 64) appearance
    keypoints: Tensor  # (1, 21, 3) x_s
    stitched: bool  # whether driving keypoints are corrected so that the square's edges stay


@dataclass(frozen=True)
class LivePortraitRenderer:
    """A ``Renderer`` of the space ``liveportrait``; a frame depends on nothing before it.

    Portraits are upright squares of 256 pixels around a face; unless all their edges are free, motion is stitched.
    """

    name = "liveportrait"
    space: LivePortraitSpace  # reads the photo's keypoints
    appearance: AppearanceExtractor  # and its appearance
    warp: Warp  # the warping network, or what ``fast_networks`` makes of it
    decode: Decode  # the decoder, likewise
    stitching: StitchingNetwork  # corrects keypoints so that the square's edges stay
    eyes: StitchingNetwork  # opens and closes lids
    batch_size: int = 1  # frames in one batch; on a CPU more than one gains nothing
    workers: int = 1  # batches drawn at the same time, each in a thread of its own

    @property
    def device(self) -> torch.device:
        """Of the networks."""
        return next(self.appearance.parameters()).device

    def with_drawing(self, steps: int | None, guidance: float | None) -> LivePortraitRenderer:
        refuse_drawing(self.name, steps, guidance)
        return self

    @torch.inference_mode()
    def prepare(self, portrait: Portrait, free: Collection[Edge] = ()) -> PreparedPortrait:
        source = self.space.extract(portrait)
        volume = self.appearance(crops_to_tensor(portrait.image[None], self.device))
        own = torch.from_numpy(keypoints(source.canonical, source.motion)).to(self.device)
        ratios = torch.tensor([[*eye_openings(portrait.face.landmarks), 0.0]], dtype=torch.float32, device=self.device)
        offset = retarget(self.eyes, own, ratios)[0].float().cpu().numpy()
        # The scale is a factor of the expression, not of the keypoints.
        blink = np.asarray(offset / source.motion.scale, np.float32)
        return PreparedPortrait(replace(source, blink=blink), volume, own, not set(EDGES) <= set(free))

    def source(self, prepared: PreparedPortrait) -> LivePortraitSource:
        return prepared.source

    def start(self, prepared: PreparedPortrait, seed: int) -> PreparedPortrait:
        return prepared

    def step(self, motion: Motion, state: PreparedPortrait) -> tuple[Image, PreparedPortrait]:
        motion.require_space(self.space.id)
        with torch.inference_mode():
            driving = torch.from_numpy(keypoints(state.source.canonical, motion)).to(self.device)  # x_d (T, 21, 3)
            driving = driving.clamp(-REACH, REACH)
            if state.stitched:
                driving = stitch(self.stitching, state.keypoints.expand_as(driving), driving)
        frames = np.empty((len(motion), SIZE, SIZE, 3), np.uint8)

        @torch.inference_mode()  # here, for every thread has its own
        def draw_batch(first: int) -> None:
            batch = driving[first : first + self.batch_size]
            volume, own = (t.expand(len(batch), *t.shape[1:]) for t in (state.volume, state.keypoints))
            frames[first : first + self.batch_size] = to_frames(self.decode(self.warp(volume, batch, own)))

        with ThreadPoolExecutor(self.workers) as threads:
            # One worker is this thread, to which compiled CUDA graphs are bound.
            draw = map if self.workers == 1 else threads.map
            list(draw(draw_batch, range(0, len(motion), self.batch_size)))
        return frames, state

    def finish(self, state: PreparedPortrait) -> Image:
        return np.empty((0, SIZE, SIZE, 3), np.uint8)


def to_frames(pictures: Tensor) -> Image:
    """(B, 3, H, W) RGB from 0 to 1 -> (B, H, W, 3) uint8, truncated as the reference does."""
    return np.asarray((pictures.float().clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).cpu())


def eye_openings(mesh: Array) -> Array:
    """(478, 3) landmarks -> (2,): lid distance by eye width of both eyes, as LivePortrait has it of 203."""
    upper, lower = mesh[LID_PAIRS[:, MIDDLE].T, :2]
    corners = mesh[EYE_CORNERS, :2]
    widths = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1)
    return np.asarray(np.linalg.norm(upper - lower, axis=-1) / (widths + 1e-6))
