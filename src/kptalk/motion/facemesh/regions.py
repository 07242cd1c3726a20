"""What control must know of a portrait: which part of an expression is mouth or eyes, and how its lids close."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kptalk.face.geometry import rotation_matrix
from kptalk.face.topology import LID_PAIRS
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace, head_expression
from kptalk.motion.liveportrait.space import EYES, LIPS, LivePortraitSource, LivePortraitSpace
from kptalk.types import N_KEYPOINTS, Array, Motion

LIDS_SHUT = 1.25  # the tracker rarely reads quite closed lids, so the learned direction stops short of them
SHUT = 0.1  # of the photo's own opening: lids that have met
STRONGEST_BLINK = 2.0  # times the mean person's


class Anatomy(Protocol):
    """A portrait in its motion space.

    Attributes:
        space: id of the motion space.
        own: the portrait's own motion, one frame.
        rest: (21, 3) the expression from which movements count; in silence the mouth is at rest.
        blink: (21, 3) what closes the lids.
        gaze: (2, 21, 3) what a gaze of 1 to the right and down adds.
        blinks: whether the motion that is controlled has blinks of its own.
    """

    space: str
    own: Motion
    rest: Array
    blink: Array
    gaze: Array
    blinks: bool

    def level(self, motion: Motion) -> Array:
        """Expression (T, 21, 3) of a motion that does not depend on how the head is turned."""

    def turned(self, expression: Array, rotation: Array) -> Array:
        """The inverse: for heads turned to ``rotation`` (T, 3) degrees."""

    def mouth(self, change: Array) -> Array:
        """What the mouth does in a change of the level expression (T, 21, 3)."""

    def eyes(self, change: Array) -> Array:
        """Likewise the eyes."""


class FaceMeshAnatomy:
    """Expressions count from the person's neutral face with closed lips; blinks were taken out of what is learned."""

    space, blinks = FaceMeshSpace.id, False

    def __init__(self, space: FaceMeshSpace, source: FaceMeshSource) -> None:
        self.own, self.rest, self._space = source.motion, np.zeros((N_KEYPOINTS, 3), np.float32), space
        self.blink, self.gaze = LIDS_SHUT * blink_of(space, source), space.gaze

    def level(self, motion: Motion) -> Array:
        """See ``Anatomy``: the head's turn is taken out."""
        return head_expression(motion)

    def turned(self, expression: Array, rotation: Array) -> Array:
        """See ``Anatomy``."""
        turned: Array = expression @ rotation_matrix(rotation)
        return turned

    def mouth(self, change: Array) -> Array:
        """See ``Anatomy``; the jaw is part of it."""
        return self._space.split_mouth(change)[0]

    def eyes(self, change: Array) -> Array:
        """See ``Anatomy``."""
        return self._space.eyes(change)


class LivePortraitAnatomy:
    """Expressions count from the photo's own; six of the keypoints are the lips, five the eyes, as in LivePortrait.

    What KDTalker draws has blinks and gaze already.
    """

    space, blinks = LivePortraitSpace.id, True

    def __init__(self, source: LivePortraitSource) -> None:
        self.own, self.rest, self.blink = source.motion, source.motion.expression[0], source.blink
        self.gaze = np.zeros((2, N_KEYPOINTS, 3), np.float32)

    def level(self, motion: Motion) -> Array:
        """See ``Anatomy``: these networks are given an expression as it is, however the head is turned."""
        return motion.expression

    def turned(self, expression: Array, rotation: Array) -> Array:
        """See ``Anatomy``."""
        return expression

    def mouth(self, change: Array) -> Array:
        """See ``Anatomy``."""
        return _only(LIPS, change)

    def eyes(self, change: Array) -> Array:
        """See ``Anatomy``."""
        return _only(EYES, change)


def blink_of(space: FaceMeshSpace, source: FaceMeshSource) -> Array:
    """Expression (21, 3) that closes the lids of this face: eyes differ in how far they are open and how they close."""
    own = head_expression(source.motion)
    strengths = np.arange(1, STRONGEST_BLINK, 0.1, np.float32)
    faces = np.concatenate([own, own + strengths[:, None, None] * space.blink])
    level = source.motion.with_fields(
        scale=np.ones((len(faces), 1), np.float32),
        rotation=np.zeros((len(faces), 3), np.float32),
        translation=np.zeros((len(faces), 3), np.float32),
        expression=faces,
    )
    meshes = space.vertices(source, level)
    gaps = meshes[:, LID_PAIRS[..., 1], 1] - meshes[:, LID_PAIRS[..., 0], 1]
    open_still = gaps.mean((1, 2)) / gaps[0].mean()
    shut = open_still[1:] <= SHUT
    blink: Array = strengths[shut.argmax() if shut.any() else -1] * space.blink
    return blink


def _only(keypoints: list[int], change: Array) -> Array:
    part = np.zeros_like(change)
    part[:, keypoints] = change[:, keypoints]
    return part
