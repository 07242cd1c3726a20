"""What a motion space offers: reading portraits and videos, the regions of a face, and passing motion on.

A space lives in a folder of its own with its reader, its regions and its generator. All that the rest of kptalk knows
of a space is this protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol, TypeVar

import numpy as np

from kptalk.face.geometry import rotation_angles, rotation_matrix
from kptalk.types import Array, Face, Image, Motion, Portrait, SourceMotion

Region = Literal["mouth", "eyes"]
SourceT = TypeVar("SourceT", bound=SourceMotion)
ReaderStateT = TypeVar("ReaderStateT")


@dataclass(frozen=True)
class Anatomy:
    """How one face rests and how its eyes move, as head-frame expressions.

    ``rest`` (K, 3) is the expression from which movements count, where the mouth is in silence; ``blink`` (K, 3) closes
    the lids; ``gaze`` (2, K, 3) is a gaze of 1 to the right, and down.
    """

    rest: Array
    blink: Array
    gaze: Array


class MotionReader(Protocol[ReaderStateT]):
    """Reads the motion of a face in a video, as a stream."""

    def start(self, fps: Fraction) -> ReaderStateT:
        """State before the first frame of a video of ``fps`` frames per second."""

    def step(
        self, images: Sequence[Image], faces: Sequence[Face], state: ReaderStateT
    ) -> tuple[Motion | None, ReaderStateT]:
        """The motion that becomes known with the next frames, None or without frames if there is none, and the state.

        Args:
            images: (H, W, 3) uint8 RGB each.
            faces: the face in each of them; where none was seen, the one before.
            state: of the stream.
        """

    def finish(self, state: ReaderStateT) -> Motion | None:
        """The motion that remains at the end."""


class MotionSpace(Protocol[SourceT]):
    """Units, keypoints and regions of motion; an expression in the head's frame does not depend on the head's turn."""

    id: str
    keypoints: int

    def extract(self, portrait: Portrait) -> SourceT:
        """Source motion of a portrait."""

    def anatomy(self, source: SourceT) -> Anatomy:
        """How this face rests, blinks and looks."""

    def to_head_frame(self, motion: Motion) -> Array:
        """Expression (T, K, 3) of a motion in the head's frame."""

    def from_head_frame(self, expression: Array, rotation: Array) -> Array:
        """The inverse: (T, K, 3) for heads turned to ``rotation`` (T, 3) degrees."""

    def region(self, name: Region, change: Array) -> Array:
        """What one region does in a change of the head-frame expression (T, K, 3)."""

    def relative(self, motion: Motion, anchor: Motion, source: Motion) -> Motion:
        """What a driver's motion changes since its frame ``anchor``, added to the portrait's own, one frame."""

    def absolute(self, motion: Motion, source: Motion) -> Motion:
        """A driver's motion in place of the portrait's own."""


def relative_pose(motion: Motion, anchor: Motion, source: Motion) -> dict[str, Array]:
    """Scale, rotation and translation of ``MotionSpace.relative``, as in KDTalker and LivePortrait.

    R = R_d R_d0^T R_s for row vectors, t = t_s + t_d - t_d0, s = s_s s_d / s_d0.
    """
    driven, first, own = (rotation_matrix(m.rotation.astype(np.float64)) for m in (motion, anchor, source))
    return {
        "scale": source.scale * motion.scale / anchor.scale,
        "rotation": rotation_angles(driven @ np.swapaxes(first, -1, -2) @ own).astype(np.float32),
        "translation": source.translation + motion.translation - anchor.translation,
    }
