"""Another frame rate: exact counts and times, one code for streams and wholes, nothing done where nothing is to do."""

from fractions import Fraction

import numpy as np
import pytest
from fakes import SHAPES, close, random_motion, same
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.motion.filters import resample
from kptalk.types import Motion

RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60), Fraction(1), Fraction(120)]
rates = st.sampled_from(RATES)


def streamed(motion, cuts, fps, total):
    state, parts = resample.ResampleState(fps), []
    for first, last in zip([0, *cuts], [*cuts, len(motion)], strict=True):
        piece, state = resample.step(motion[first:last], state)
        parts.append(piece)
    parts.append(resample.finish(state, total))
    return parts


def moving(length):
    """Every field runs evenly with the time."""
    time = np.arange(length) / 25
    fields = {
        name: np.broadcast_to(time.reshape(-1, *[1] * len(tail)), (length, *tail)) for name, tail in SHAPES.items()
    }
    return Motion(**fields, fps=Fraction(25), space="facemesh")


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), rates, st.data())
def test_chunks_do_not_matter_and_the_count_is_exact(length, fps, data):
    motion = random_motion(length)
    total = max(1, int(np.ceil(length * fps / 25)))
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=5)))
    parts = streamed(motion, cuts, fps, total)
    assert sum(map(len, parts)) == total
    assert close(Motion.concatenate(parts), Motion.concatenate(streamed(motion, [], fps, total)), 0)
    assert {part.fps for part in parts} == {fps}


@pytest.mark.parametrize("fps", RATES)
def test_frame_k_lies_at_k_over_fps(fps):
    motion = moving(100)
    out = resample.resample(motion, fps)
    times = np.arange(len(out)) / float(fps)
    inside = (times >= 1 / 25) & (times <= 97 / 25)
    assert np.abs(out.scale[inside, 0] - times[inside]).max(initial=0) < 1e-5
    assert np.abs(out.expression[inside, 20, 2] - times[inside]).max(initial=0) < 1e-5


@pytest.mark.parametrize(("fps", "count"), [(24, 96), (25, 100), (Fraction(30000, 1001), 119), (30, 119), (60, 238)])
def test_whole_ends_with_the_last_frame(fps, count):
    assert len(resample.resample(random_motion(100), Fraction(fps))) == count  # frames at or before 99 / 25 seconds


def test_the_same_rate_changes_nothing():
    motion = random_motion(50)
    assert same(resample.resample(motion, Fraction(25)), motion)
    assert same(Motion.concatenate(streamed(motion, [7, 7, 30], Fraction(25), 50)), motion)


def test_twice_the_rate_keeps_every_frame():
    motion = random_motion(40)
    assert close(resample.resample(motion, Fraction(50))[::2], motion, 1e-6)


def test_there_and_back_is_nearly_the_same():
    motion = random_motion(80)
    back = resample.resample(resample.resample(motion, Fraction(60)), Fraction(25))
    assert np.abs(back.rotation[2:-3] - motion.rotation[2 : len(back) - 3]).max() < 0.35  # random steps, the worst case


@given(rates)
def test_one_frame_holds(fps):
    motion = random_motion(1)
    out = Motion.concatenate(streamed(motion, [], fps, 5))
    assert len(out) == 5
    assert close(out, Motion.concatenate([motion] * 5), 1e-6)


def test_memory_of_a_stream_does_not_grow():
    state, held = resample.ResampleState(Fraction(30)), []
    for number in range(40):
        _, state = resample.step(random_motion(25, number), state)
        held.append(len(state.frames.kept))
    assert max(held) < 10
