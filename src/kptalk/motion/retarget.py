"""From the motion of a driver to the motion of a portrait: relative or absolute, all of it or a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kptalk.errors import OptionError
from kptalk.face.geometry import rotation_angles, rotation_matrix
from kptalk.motion.facemesh.space import FaceMeshSpace, head_expression
from kptalk.motion.liveportrait import space as liveportrait
from kptalk.types import FIELDS, Array, Motion

MODES = ("relative", "absolute")
REGIONS = ("all", "pose", "expression", "lips", "eyes")


@dataclass(frozen=True)
class RetargetOptions:
    """What of a driver's motion a portrait takes over.

    Attributes:
        mode: ``relative`` adds what changes since the driver's first frame to the portrait's own pose and expression;
            ``absolute`` takes the driver's in their place.
        region: ``all``, the ``pose`` of the head, the whole ``expression``, or of this only ``lips`` (with the jaw) or
            ``eyes``; all else stays as it is in the portrait.
    """

    mode: str = "relative"
    region: str = "all"

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("region", REGIONS)):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} is {getattr(self, name)!r}: give {', '.join(known[:-1])} or {known[-1]}")


class Retargeter(Protocol):
    """What a motion space knows of passing motion on; ``source`` and ``anchor`` have one frame."""

    def relative(self, motion: Motion, anchor: Motion, source: Motion) -> Motion:
        """What the driver's motion changes since its frame ``anchor``, added to the portrait's own."""

    def absolute(self, motion: Motion, source: Motion) -> Motion:
        """The driver's motion in place of the portrait's own."""

    def mixed(self, pose: Motion, expression: Motion, source: Motion, region: str) -> Motion:
        """The pose of one motion; of the other one's expression the region, and the portrait's own in the others.

        Args:
            pose: T frames.
            expression: T frames.
            source: of the portrait.
            region: ``expression``, ``lips`` or ``eyes``.
        """


def retarget(
    pieces: Iterable[Motion], source: Motion, retargeter: Retargeter, drive: RetargetOptions
) -> Iterator[Motion]:
    """A driver's motion as the portrait's, piece by piece.

    Args:
        pieces: the driver's motion; its first frame is the anchor of relative motion.
        source: the portrait's own motion, one frame.
        retargeter: of the motion space.
        drive: what is taken over.
    """
    anchor: Motion | None = None
    for motion in pieces:
        if anchor is None:
            anchor = motion[:1]
        if drive.mode == "relative":
            driven = retargeter.relative(motion, anchor, source)
        else:
            driven = retargeter.absolute(motion, source)
        if drive.region == "all":
            yield driven
            continue
        still = motion.with_fields(**{name: np.repeat(getattr(source, name), len(motion), 0) for name in FIELDS})
        if drive.region == "pose":
            yield retargeter.mixed(driven, still, source, "expression")
        else:
            yield retargeter.mixed(still, driven, source, drive.region)


def relative_pose(motion: Motion, anchor: Motion, source: Motion) -> dict[str, Array]:
    """Scale, rotation and translation of ``Retargeter.relative``, as in KDTalker and LivePortrait.

    R = R_d R_d0^T R_s for row vectors, t = t_s + t_d - t_d0, s = s_s s_d / s_d0.
    """
    driven, first, own = (rotation_matrix(m.rotation.astype(np.float64)) for m in (motion, anchor, source))
    return {
        "scale": source.scale * motion.scale / anchor.scale,
        "rotation": rotation_angles(driven @ np.swapaxes(first, -1, -2) @ own).astype(np.float32),
        "translation": source.translation + motion.translation - anchor.translation,
    }


class FaceMeshRetargeter:
    """Passes on motion of the space ``facemesh``.

    Both persons' expressions count from their neutral faces with closed lips and open eyes. So in relative motion the
    lips are as far open as the driver's, and the lids as far closed, whatever the portrait's mouth or the driver's
    first frame looks like: else lips that were parted in the photo would never meet. Everything else is relative.
    """

    def __init__(self, space: FaceMeshSpace) -> None:
        self.space = space

    def relative(self, motion: Motion, anchor: Motion, source: Motion) -> Motion:
        """See ``Retargeter``."""
        pose = relative_pose(motion, anchor, source)
        own, first = self._lips_closed(head_expression(source)), head_expression(anchor)
        expression = own + head_expression(motion) - self._eyes_open(self._lips_closed(first))
        return motion.with_fields(**pose, expression=expression @ rotation_matrix(pose["rotation"]))

    def absolute(self, motion: Motion, source: Motion) -> Motion:
        """See ``Retargeter``; scale and translation count from the driver's first frame, as everywhere in the space."""
        return motion

    def mixed(self, pose: Motion, expression: Motion, source: Motion, region: str) -> Motion:
        """See ``Retargeter``."""
        own = head_expression(source)
        change = head_expression(expression) - own
        if region == "lips":
            change = self.space.split_mouth(change)[0]
        elif region == "eyes":
            change = self.space.eyes(change)
        return pose.with_fields(expression=(own + change) @ rotation_matrix(pose.rotation))

    def _lips_closed(self, expression: Array) -> Array:
        opened = self.space.lip_gap(expression) / self.space.lip_gap(self.space.open_lips[None])
        closed: Array = expression - opened[:, None, None] * self.space.open_lips
        return closed

    def _eyes_open(self, expression: Array) -> Array:
        closed = self.space.lid_gap(expression).mean(-1) / self.space.lid_gap(self.space.blink[None]).mean()
        opened: Array = expression - closed[:, None, None] * self.space.blink
        return opened


class LivePortraitRetargeter:
    """Passes on motion of the space ``liveportrait``, as LivePortrait does; absolute motion keeps the portrait's size.

    A region's keypoints are its own; an expression is not turned with the head.
    """

    def relative(self, motion: Motion, anchor: Motion, source: Motion) -> Motion:
        """See ``Retargeter``."""
        return liveportrait.relative(motion, anchor, source)

    def absolute(self, motion: Motion, source: Motion) -> Motion:
        """See ``Retargeter``."""
        return liveportrait.absolute(motion, source)

    def mixed(self, pose: Motion, expression: Motion, source: Motion, region: str) -> Motion:
        """See ``Retargeter``."""
        if region == "expression":
            return pose.with_fields(expression=expression.expression)
        keypoints = liveportrait.LIPS if region == "lips" else liveportrait.EYES
        mixed = np.repeat(source.expression, len(pose), 0)
        mixed[:, keypoints] = expression.expression[:, keypoints]
        return pose.with_fields(expression=mixed)
