"""Frames that wait for their neighbours: the one look-ahead buffer of all filters.

A filter of radius r gives out frame k when it has seen frame k + r. Until then frames wait here, together with how much
speech each one holds, which travels along untouched. Frames are numbered from the beginning of the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from kptalk.types import Array, Motion

Smooth = Callable[[Motion], Motion]  # a whole motion to a motion of the same length


@dataclass(frozen=True)
class FrameBuffer:
    """Frames ``first`` to ``end`` of a stream, their speech activity (n,), and ``next``, the frame to give out next."""

    kept: Motion | None = None
    activity: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    first: int = 0
    next: int = 0

    @property
    def end(self) -> int:
        """Number of frames that the stream has had."""
        return self.first + len(self.activity)

    def append(self, motion: Motion, activity: Array) -> FrameBuffer:
        """Take in the next n frames and their speech activity (n,)."""
        kept = motion if self.kept is None else Motion.concatenate([self.kept, motion])
        return replace(self, kept=kept, activity=np.concatenate([self.activity, activity]))

    def advance(self, until: int, context: int) -> FrameBuffer:
        """What remains when all frames before ``until`` are given out and ``context`` of these are still needed."""
        drop = max(0, min(until - context, self.end) - self.first)
        kept = None if self.kept is None else self.kept[drop:]
        return replace(self, kept=kept, activity=self.activity[drop:], first=self.first + drop, next=until)


def step(
    smooth: Smooth, radius: int, motion: Motion, activity: Array, state: FrameBuffer
) -> tuple[Motion, Array, FrameBuffer]:
    """Filter the next n frames.

    Args:
        smooth: the filter, of whole motions.
        radius: how many frames on either side decide about a frame.
        motion: (n frames).
        activity: (n,) how much speech each frame holds.
        state: of the stream; ``FrameBuffer()`` at its beginning.

    Returns:
        the frames whose neighbours on both sides are known, filtered, their activity, and the state.
    """
    state = state.append(motion, activity)
    until = max(state.next, state.end - radius)
    return *_filtered(smooth, until, state), state.advance(until, radius)


def finish(smooth: Smooth, state: FrameBuffer) -> tuple[Motion, Array]:
    """The frames that remain at the end of a stream that has had some motion, and their activity."""
    return _filtered(smooth, state.end, state)


def _filtered(smooth: Smooth, until: int, state: FrameBuffer) -> tuple[Motion, Array]:
    assert state.kept is not None
    ready = slice(state.next - state.first, until - state.first)
    motion = smooth(state.kept) if until > state.next else state.kept
    return motion[ready], state.activity[ready]
