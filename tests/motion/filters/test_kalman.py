"""Kalman smoothing: the reference's numbers, and the stream against the whole."""

from fractions import Fraction

import numpy as np
import pytest

from kptalk.motion.filters import kalman
from kptalk.types import Motion


@pytest.mark.parametrize("case", ["50x1", "50x3", "30x63", "1x1", "2x1"])
def test_equals_the_reference(parity, case):
    stored = np.load(parity / "fixtures" / "kdtalker_kalman.npz")
    observed = stored[f"in_{case}"]
    np.testing.assert_allclose(kalman.smooth_values(observed), stored[f"out_{case}"], atol=1e-12)


def test_a_jump_far_ahead_changes_nothing_that_was_given_out():
    calm, jump = np.zeros((30, 1)), np.zeros((30, 1))
    jump[20:] = 1
    difference = np.abs(kalman.smooth_values(calm) - kalman.smooth_values(jump))[:, 0]
    assert difference[20 - kalman.RADIUS] < 1e-9
    assert 0.01 < difference[19] < 0.03


def test_the_kernel_is_the_known_one():
    impulse = np.zeros((41, 1))
    impulse[20] = 1
    kernel = kalman.smooth_values(impulse)[:, 0]
    assert kernel[19:22] == pytest.approx([0.0185, 0.962, 0.0185], abs=5e-4)
    assert kernel.sum() == pytest.approx(1)


def test_no_motion_gives_a_line_no_frame_moves():
    still = np.full((9, 3), 4.5)
    np.testing.assert_allclose(kalman.smooth_values(still), still)


def shaken(length):
    rng = np.random.default_rng(length)
    fields = {"scale": (1,), "rotation": (3,), "translation": (3,), "expression": (21, 3)}
    arrays = {name: rng.standard_normal((length, *tail)).astype(np.float32) for name, tail in fields.items()}
    return Motion(**arrays, fps=Fraction(25), space="liveportrait")


def test_motion_is_smoothed_but_for_its_scale():
    motion = shaken(40)
    smoothed = kalman.smooth(motion)
    assert np.array_equal(smoothed.scale, motion.scale)
    for name in ("rotation", "translation", "expression"):
        values = getattr(motion, name).reshape(40, -1)
        np.testing.assert_allclose(getattr(smoothed, name).reshape(40, -1), kalman.smooth_values(values), atol=1e-6)
