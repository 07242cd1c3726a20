"""A photo's face drawn by LivePortrait: its crop, the keypoints of its lids, and shoulders that stay where they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from kptalk.face.framing import EDGES, Edge
from kptalk.face.topology import EYE_CORNERS, LID_PAIRS
from kptalk.motion.liveportrait.space import LivePortraitSource, keypoints
from kptalk.networks.stitching import StitchingNetwork, retarget, stitch
from kptalk.render.liveportrait.renderer import SIZE, LivePortraitRenderer, PreparedCrop
from kptalk.types import Array, Image, Motion, Portrait

MIDDLE = LID_PAIRS.shape[1] // 2  # of the pairs on the lids, the one above the iris


@dataclass(frozen=True)
class PreparedPortrait:
    """A prepared photo; ``stitched`` says whether its keypoints are corrected so that the square's edges stay."""

    source: LivePortraitSource
    crop: PreparedCrop
    stitched: bool


class PortraitRenderer:
    """LivePortrait's renderer with its small networks.

    Args:
        crops: draws.
        stitching: corrects keypoints so that the crop's edges stay.
        eyes: opens and closes lids.
    """

    name = "liveportrait"

    def __init__(self, crops: LivePortraitRenderer, stitching: StitchingNetwork, eyes: StitchingNetwork) -> None:
        self.crops, self.stitching, self.eyes = crops, stitching.eval(), eyes.eval()

    @torch.inference_mode()
    def prepare(self, portrait: Portrait, free: Collection[Edge] = ()) -> PreparedPortrait:
        """Read the upright square around a face once.

        Args:
            portrait: (256, 256, 3) uint8 RGB, and its face.
            free: the edges that may move; unless all may, motion is stitched.

        Raises:
            ImageError: the square has another size.
        """
        state = self.crops.prepare(portrait.image)
        open_now = eye_openings(portrait.face.landmarks)
        ratios = torch.tensor([[*open_now, 0.0]], dtype=torch.float32, device=self.crops.device)
        offset = retarget(self.eyes, state.keypoints, ratios)[0].float().cpu().numpy()
        blink = offset / state.source.motion.scale  # the scale is a factor of the expression, not of the keypoints
        source = LivePortraitSource(state.source.canonical, state.source.motion, blink)
        return PreparedPortrait(source, state, not set(EDGES) <= set(free))

    def source(self, prepared: PreparedPortrait) -> LivePortraitSource:
        """See ``Renderer``."""
        return prepared.source

    def start(self, prepared: PreparedPortrait, seed: int) -> PreparedPortrait:
        """See ``Renderer``: nothing is remembered from frame to frame."""
        return prepared

    def finish(self, state: PreparedPortrait) -> Image:
        """See ``Renderer``."""
        return np.empty((0, SIZE, SIZE, 3), np.uint8)

    def step(self, motion: Motion, state: PreparedPortrait) -> tuple[Image, PreparedPortrait]:
        """Frames (T, 512, 512, 3) uint8 RGB.

        Raises:
            MotionError: the motion belongs to another motion space.
        """
        return self.crops.draw(state.crop, self._stitched(state, motion) if state.stitched else motion), state

    @torch.inference_mode()
    def _stitched(self, state: PreparedPortrait, motion: Motion) -> Motion:
        driving = torch.from_numpy(keypoints(state.source.canonical, motion)).to(self.crops.device)
        source = state.crop.keypoints.expand(len(driving), -1, -1)
        offset = (stitch(self.stitching, source, driving) - driving).float().cpu().numpy()
        return motion.with_fields(expression=motion.expression + offset / motion.scale[:, None])


def eye_openings(mesh: Array) -> Array:
    """(478, 3) landmarks -> (2,): lid distance by eye width of both eyes, as LivePortrait has it of 203."""
    upper, lower = mesh[LID_PAIRS[:, MIDDLE].T, :2]
    corners = mesh[EYE_CORNERS, :2]
    widths = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1)
    openings: Array = np.linalg.norm(upper - lower, axis=-1) / (widths + 1e-6)
    return openings
