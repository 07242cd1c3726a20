"""Jerk and seams: zero for even motion, and larger the more a clip trembles or jumps at its joins."""

import numpy as np
import pytest
from degrade import frozen, trembling

from kptalk.evaluate.metric import Sight
from kptalk.evaluate.metrics.jitter import JitterJudge, Joins, landmark_jerk, seams

CLIP = "aoc_1"


def test_even_motion_has_no_jerk():
    line = np.arange(20, dtype=np.float32)[:, None, None] * np.float32([[[1, 2]]])
    assert landmark_jerk(line) == pytest.approx(np.zeros(17))


def test_a_single_jump_has_the_jerk_of_its_third_differences():
    step = np.zeros((10, 1, 2), np.float32)
    step[5:] = (3, 4)
    assert landmark_jerk(step) == pytest.approx([0, 0, 5, 10, 5, 0, 0])


def test_trembling_shows_in_order(seen, measure):
    sights, _ = seen(CLIP)
    jerks = [measure(JitterJudge(Joins()), trembling(sights, p), sights)["jerk"] for p in (0, 0.3, 1, 3)]
    assert np.all(np.diff(jerks) > 0)


def test_freezing_lowers_it_in_order(seen, measure):
    sights, _ = seen(CLIP)
    jerks = [measure(JitterJudge(Joins()), frozen(sights, k), sights)["jerk"] for k in (100, 66, 33, 0)]
    assert np.all(np.diff(jerks) < 0)
    assert jerks[-1] == 0


def test_jumps_at_the_joins_show_in_order_and_jumps_elsewhere_do_not(seen, measure):
    sights, _ = seen(CLIP)

    def jumping(pixels, frames):
        late = {k for frame in frames for k in range(frame, frame + 1)}
        return [Sight(s.image, s.mesh + np.float32([pixels, 0, 0])) if k in late else s for k, s in enumerate(sights)]

    ratio = [measure(JitterJudge(Joins(20, 20)), jumping(p, (20, 40, 60, 80)), sights)["seams"] for p in (0, 4, 12)]
    assert ratio[0] < 1.5 < ratio[1] < ratio[2]
    assert measure(JitterJudge(Joins(20, 20)), jumping(12, (30, 50, 70)), sights)["seams"] < ratio[0]


def test_the_report_says_where_joins_were_looked_for():
    assert "frame 58 and every 44 frames" in JitterJudge(Joins(58, 44)).columns[1].about


def test_a_clip_without_a_join_has_no_seams():
    assert np.isnan(seams(np.ones(50), Joins(64, 64)))
    assert seams(np.ones(70), Joins(64, 64)) == 1


def test_no_face_is_no_number(seen, measure):
    sights, _ = seen(CLIP)
    blind = [Sight(sight.image, None) for sight in sights]
    assert all(np.isnan(value) for value in measure(JitterJudge(Joins()), blind, blind).values())
    assert all(np.isnan(value) for value in measure(JitterJudge(Joins()), [], []).values())
