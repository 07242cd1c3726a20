"""From the motion of a driver to the motion of a portrait: relative or absolute, all of it or one region."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kptalk.motion.space import MotionSpace, SourceT
from kptalk.options import RetargetOptions
from kptalk.types import Motion


def retarget(
    pieces: Iterable[Motion], source: Motion, space: MotionSpace[SourceT], options: RetargetOptions
) -> Iterator[Motion]:
    """A driver's motion as the portrait's, piece by piece.

    Args:
        pieces: the driver's motion; its first frame is the anchor of relative motion.
        source: the portrait's own motion, one frame.
        space: of both.
        options: what is taken over.
    """
    anchor: Motion | None = None
    for motion in pieces:
        if anchor is None:
            anchor = motion[:1]
        if options.mode == "relative":
            driven = space.relative(motion, anchor, source)
        else:
            driven = space.absolute(motion, source)
        yield driven if options.region == "all" else only(space, driven, source, options.region)


def only(space: MotionSpace[SourceT], driven: Motion, source: Motion, region: str) -> Motion:
    """Of a driven motion one region; all else stays as it is in the portrait, whose motion ``source`` is one frame.

    The region ``pose`` includes the head's size: it takes over the driver's change of scale, where LivePortrait's own
    program keeps the source's scale for every region but ``all``.
    """
    own = space.to_head_frame(source)
    if region == "pose":
        return driven.with_fields(expression=space.from_head_frame(own.repeat(len(driven), 0), driven.rotation))
    change = space.to_head_frame(driven) - own
    if region != "expression":
        change = space.region("mouth" if region == "lips" else "eyes", change)
    still = replace(source.repeat(len(driven)), fps=driven.fps)
    return still.with_fields(expression=space.from_head_frame(own + change, still.rotation))
