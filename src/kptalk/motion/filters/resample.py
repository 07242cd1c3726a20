"""Motion at another frame rate, as a stream: frame k of the result lies at exactly k / fps seconds."""

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from kptalk.motion.filters.buffer import FrameBuffer
from kptalk.types import FIELDS, Array, Motion


@dataclass(frozen=True)
class ResampleState:
    """Where a stream stands: the rate wanted, the frames still needed, and the next frame to give out at that rate."""

    fps: Fraction
    frames: FrameBuffer = field(default_factory=FrameBuffer)
    next_frame: int = 0


def step(motion: Motion, state: ResampleState) -> tuple[Motion, ResampleState]:
    """Take in n frames; returns those that became known at the new rate, and the state."""
    state = replace(state, frames=state.frames.append(motion, np.zeros(len(motion), np.float32)))
    until, ahead = state.next_frame, 0 if motion.fps == state.fps else 2  # frames that the curve needs
    while until * motion.fps / state.fps + ahead < state.frames.end:
        until += 1
    return _interpolated(until, state)


def finish(state: ResampleState, total: int) -> Motion:
    """The frames that remain of a stream that has had some, so that ``total`` were given out; the last frame holds."""
    return _interpolated(total, state)[0]


def resample(motion: Motion, fps: Fraction) -> Motion:
    """A whole motion at another frame rate, for as long as it lasts."""
    total = max(1, math.floor((len(motion) - 1) * fps / motion.fps) + 1)
    head, state = step(motion, ResampleState(fps))
    return Motion.concatenate([head, finish(state, total)])


def _interpolated(until: int, state: ResampleState) -> tuple[Motion, ResampleState]:
    """The frames up to number ``until``, excluded, at the new rate, and the state after them."""
    kept, first = state.frames.kept, state.frames.first
    assert kept is not None
    times = [k * kept.fps / state.fps - first for k in range(state.next_frame, until)]
    if kept.fps == state.fps or not times:
        indices = np.minimum(np.array(times, np.int64), len(kept) - 1)
        fields = {name: getattr(kept, name)[indices] for name in FIELDS}
    else:
        fields = {name: _catmull_rom(getattr(kept, name), times) for name in FIELDS}
    needed = math.floor(until * kept.fps / state.fps) - 1
    frames = state.frames.advance(min(needed, state.frames.end - 1), 0)
    return Motion(**fields, fps=state.fps, space=kept.space), ResampleState(
        state.fps, frames, max(until, state.next_frame)
    )


def _catmull_rom(values: Array, times: list[Fraction]) -> Array:
    """Values (T, ...) at times in frames; a cubic through the two frames on either side."""
    whole = np.array([math.floor(t) for t in times])
    u = np.array([float(t - math.floor(t)) for t in times], np.float32).reshape(-1, *[1] * (values.ndim - 1))
    p0, p1, p2, p3 = (values[np.clip(whole + k, 0, len(values) - 1)] for k in (-1, 0, 1, 2))
    curve: Array = p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))
    return curve
