"""Motion at another frame rate, as a stream: frame k of the result lies at exactly k / fps seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from kptalk.types import FIELDS, Array, Motion


@dataclass(frozen=True)
class ResampleState:
    """Where a stream stands: frames still needed, the number of the first of them, and the next frame to give out."""

    fps: Fraction
    kept: Motion | None
    first: int
    next_frame: int


def start(fps: Fraction) -> ResampleState:
    """State of a stream that has seen no frame; ``fps`` is the rate wanted."""
    return ResampleState(fps, None, 0, 0)


def step(motion: Motion, state: ResampleState) -> tuple[Motion | None, ResampleState]:
    """Take in n frames; returns those that became known at the new rate (None if there are none), and the state."""
    kept = motion if state.kept is None else Motion.concatenate([state.kept, motion])
    end = state.next_frame
    while (end * kept.fps / state.fps) + 2 < state.first + len(kept):
        end += 1
    return _cut(kept, end, state)


def finish(state: ResampleState, total: int) -> Motion | None:
    """The frames that remain, so that ``total`` were given out; the last frame holds."""
    return None if state.kept is None else _cut(state.kept, total, state)[0]


def whole(motion: Motion, fps: Fraction) -> Motion:
    """A whole motion at another frame rate, for as long as it lasts."""
    total = max(1, math.floor((len(motion) - 1) * fps / motion.fps) + 1)
    head, state = step(motion, start(fps))
    rest = finish(state, total)
    return Motion.concatenate([part for part in (head, rest) if part is not None])


def _cut(kept: Motion, end: int, state: ResampleState) -> tuple[Motion | None, ResampleState]:
    if end <= state.next_frame:
        return None, replace(state, kept=kept)
    times = [k * kept.fps / state.fps - state.first for k in range(state.next_frame, end)]
    if kept.fps == state.fps:
        indices = np.minimum([int(t) for t in times], len(kept) - 1)
        fields = {name: getattr(kept, name)[indices] for name in FIELDS}
    else:
        fields = {name: _catmull_rom(getattr(kept, name), times) for name in FIELDS}
    out = Motion(**fields, fps=state.fps, space=kept.space)
    needed = math.floor(end * kept.fps / state.fps) - 1 - state.first
    drop = min(max(needed, 0), len(kept) - 1)
    return out, ResampleState(state.fps, kept[drop:], state.first + drop, end)


def _catmull_rom(values: Array, times: list[Fraction]) -> Array:
    """Values (T, ...) at times in frames; a cubic through the two frames on either side."""
    whole = np.array([math.floor(t) for t in times])
    u = np.array([float(t - math.floor(t)) for t in times], np.float32).reshape(-1, *[1] * (values.ndim - 1))
    p0, p1, p2, p3 = (values[np.clip(whole + k, 0, len(values) - 1)] for k in (-1, 0, 1, 2))
    curve: Array = p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))
    return curve
