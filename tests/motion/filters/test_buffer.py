"""The look-ahead buffer: every filter as a stream is as good as on the whole, and waits no longer than it must."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from fakes import close, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.motion.filters import buffer, gaussian, kalman, savgol
from kptalk.motion.filters.buffer import FrameBuffer
from kptalk.types import Motion

FILTERS = {
    "gaussian": (gaussian.smooth, gaussian.RADIUS),
    "kalman": (kalman.smooth, kalman.RADIUS),
    "savgol": (savgol.smooth, savgol.radius(Fraction(25))),
}


def streamed(name, motion, cuts=()):
    smooth, radius = FILTERS[name]
    activity, state, parts, heard = np.arange(len(motion), dtype=np.float32), FrameBuffer(), [], []
    for first, last in itertools.pairwise([0, *cuts, len(motion)]):
        part, active, state = buffer.step(smooth, radius, motion[first:last], activity[first:last], state)
        assert len(state.activity) <= 2 * radius + 1 or last - first > 1
        parts.append(part)
        heard.append(active)
    part, active = buffer.finish(smooth, state)
    assert np.array_equal(np.concatenate([*heard, active]), activity)
    return Motion.concatenate([*parts, part])


@settings(deadline=None)
@given(name=st.sampled_from(list(FILTERS)), length=st.integers(0, 90), data=st.data())
def test_chunks_do_not_matter(name, length, data):
    motion = random_motion(length + 1)[:length]
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))
    assert close(streamed(name, motion, cuts), FILTERS[name][0](motion) if length else motion)


@pytest.mark.parametrize("name", FILTERS)
def test_a_stream_waits_for_its_radius_alone(name):
    smooth, radius = FILTERS[name]
    motion, state, known = random_motion(60), FrameBuffer(), []
    for k in range(60):
        part, _, state = buffer.step(smooth, radius, motion[k : k + 1], np.ones(1, np.float32), state)
        known.append(len(part))
    assert known == [0] * radius + [1] * (60 - radius)
