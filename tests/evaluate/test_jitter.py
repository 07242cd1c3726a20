"""Jerk and seams: zero for even motion, and larger the more a clip trembles or jumps at its joins."""

from dataclasses import replace

import numpy as np
import pytest
from degrade import frozen, trembling
from fakes import fake_generator
from measuring import measure

from kptalk.evaluate.metric import FrameSample
from kptalk.evaluate.metrics.jitter import JitterMetric, landmark_jerk, window_seams
from kptalk.motion.generator import WindowGrid
from kptalk.motion.liveportrait.generator import KDTalkerGenerator

CLIP = "grid_flbbc_1"
JOINS = WindowGrid(64, 64)


def test_even_motion_has_no_jerk():
    line = np.arange(20, dtype=np.float32)[:, None, None] * np.float32([[[1, 2]]])
    assert landmark_jerk(line) == pytest.approx(np.zeros(17))


def test_a_single_jump_has_the_jerk_of_its_third_differences():
    step = np.zeros((10, 1, 2), np.float32)
    step[5:] = (3, 4)
    assert landmark_jerk(step) == pytest.approx([0, 0, 5, 10, 5, 0, 0])


def test_trembling_shows_in_order(seen):
    samples, _ = seen(CLIP)
    jerks = [measure(JitterMetric(JOINS), trembling(samples, p), samples)["jerk"] for p in (0, 0.3, 1, 3)]
    assert np.all(np.diff(jerks) > 0)


def test_freezing_lowers_it_in_order(seen):
    samples, _ = seen(CLIP)
    jerks = [measure(JitterMetric(JOINS), frozen(samples, k), samples)["jerk"] for k in (75, 50, 25, 0)]
    assert np.all(np.diff(jerks) < 0)
    assert jerks[-1] == 0


def test_jumps_at_the_joins_show_in_order_and_jumps_elsewhere_do_not(seen):
    samples, _ = seen(CLIP)

    def seams(pixels, frames):
        jumping = list(samples)
        for k in frames:
            jumping[k] = replace(samples[k], mesh=samples[k].mesh + np.float32([pixels, 0, 0]))
        return measure(JitterMetric(WindowGrid(20, 20)), jumping, samples)["seams"]

    none, small, large = (seams(pixels, (20, 40, 60)) for pixels in (0, 4, 12))
    assert none < 1.5 < small < large
    assert seams(12, (30, 50, 70)) < none


def test_generators_say_where_their_windows_meet(space):
    """KDTalker's windows follow one another; those of facemesh overlap by 14 frames and are blended over 6."""
    assert KDTalkerGenerator.grid == WindowGrid(64, 64)
    assert fake_generator(space).grid == WindowGrid(58, 44)


def test_the_report_says_where_joins_were_looked_for():
    assert "frame 58 and every 44 frames" in JitterMetric(WindowGrid(58, 44)).columns[1].about


def test_a_clip_without_a_join_has_no_seams():
    assert np.isnan(window_seams(np.ones(50), JOINS))
    assert window_seams(np.ones(70), JOINS) == 1


def test_no_face_is_no_number(seen):
    samples, _ = seen(CLIP)
    blind = [FrameSample(sample.image, None) for sample in samples]
    assert all(np.isnan(value) for value in measure(JitterMetric(JOINS), blind, blind).values())
    assert all(np.isnan(value) for value in measure(JitterMetric(JOINS), [], []).values())
