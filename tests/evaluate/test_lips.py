"""Lip metrics: known answers for made openings, and order under growing damage of a real clip."""

import numpy as np
import pytest
from degrade import faceless, frozen, shifted, trembling
from hypothesis import given
from hypothesis import strategies as st
from measuring import measure

from kptalk.evaluate.metric import AudioPair, FrameSample
from kptalk.evaluate.metrics.lips import LipMetric, best_lag, closures, correlation, landmark_distance, speaking

CLIP, OTHER = "grid_msbia_1", "grid_flbbc_1"


def test_the_real_video_against_itself_is_perfect(seen):
    samples, sound = seen(CLIP)
    values = measure(LipMetric(), samples, samples, AudioPair(sound, sound))
    assert values["lip_r"] == pytest.approx(1)
    assert values["lip_width_r"] == pytest.approx(1)
    assert values["lip_amplitude"] == pytest.approx(1)
    assert values["lmd"] == pytest.approx(0, abs=1e-6)
    assert values["lip_lag"] == 0
    assert values["closure_recall"] == values["closure_precision"] == 1


def test_lips_that_come_late_correlate_less_and_the_lag_says_by_how_much(seen):
    samples, sound = seen(CLIP)
    late = [measure(LipMetric(), shifted(samples, k), samples, AudioPair(sound, sound)) for k in (0, 1, 2, 4)]
    assert [values["lip_lag"] for values in late] == [0, 1, 2, 4]
    assert np.all(np.diff([values["lip_r"] for values in late]) < 0)
    assert np.all(np.diff([values["lmd"] for values in late]) > 0)


def test_frozen_lips_have_no_correlation_no_amplitude_and_a_distance(seen):
    samples, sound = seen(CLIP)
    values = measure(LipMetric(), [samples[0]] * len(samples), samples, AudioPair(sound, sound))
    assert (values["lip_r"], values["lip_amplitude"]) == pytest.approx((0, 0), abs=1e-9)
    assert values["lmd"] > 0.5
    assert np.isnan(values["lip_lag"])


def test_freezing_costs_correlation_amplitude_closures_and_distance_in_order(seen):
    samples, sound = seen(CLIP)
    stuck = [measure(LipMetric(), frozen(samples, k), samples, AudioPair(sound, sound)) for k in (75, 50, 25, 0)]
    for key in ("lip_r", "lip_width_r", "lip_amplitude"):
        assert np.all(np.diff([values[key] for values in stuck]) < 0)
    assert np.all(np.diff([values["lmd"] for values in stuck]) > 0)


def test_another_face_costs_correlation_and_in_order_distance(seen):
    (others, _), (samples, sound) = seen(OTHER), seen(CLIP)
    mixed = [
        measure(LipMetric(), samples[:k] + others[k:], samples, AudioPair(sound, sound))
        for k in (len(samples), 44, 22, 0)
    ]
    for key in ("lip_r", "lip_width_r"):
        assert max(values[key] for values in mixed[1:]) < 0.8
    assert np.all(np.diff([values["lmd"] for values in mixed]) > 0)


def test_lips_that_close_less_have_less_recall_in_order():
    real = np.ones(80)
    for start in (10, 30, 50, 70):
        real[start : start + 3] = 0
    spoilt = [np.where(np.arange(80) < end, 1, real) for end in (0, 20, 40, 60, 80)]
    assert [closures(lips, real, np.ones(80, bool))[0] for lips in spoilt] == [1, 0.75, 0.5, 0.25, 0]


def test_other_words_are_no_match(seen):
    (ours, _), (theirs, sound) = seen(OTHER), seen(CLIP)
    assert measure(LipMetric(), ours, theirs, AudioPair(sound, sound))["lip_r"] < 0.4


def test_noise_in_the_landmarks_costs_correlation_and_distance_in_order(seen):
    samples, sound = seen(CLIP)
    noisy = [measure(LipMetric(), trembling(samples, p), samples, AudioPair(sound, sound)) for p in (0.2, 0.6, 1.5)]
    assert np.all(np.diff([values["lip_r"] for values in noisy]) < 0)
    assert np.all(np.diff([values["lmd"] for values in noisy]) > 0)


def test_the_head_s_pose_is_no_lip_distance(seen):
    """The same face turned, moved and enlarged as a rigid body."""
    samples, _ = seen(CLIP)
    angle = np.radians(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    moved = [FrameSample(sample.image, 1.3 * (sample.mesh @ turn) + np.float32([20, -10, 5])) for sample in samples]
    assert measure(LipMetric(), moved, samples)["lmd"] == pytest.approx(0, abs=1e-3)


def test_frames_without_a_face_are_left_out_and_too_few_give_nothing(seen):
    samples, sound = seen(CLIP)
    audio = AudioPair(sound, sound)
    assert measure(LipMetric(), faceless(samples, range(20, 50)), samples, audio)["lip_r"] == pytest.approx(1)
    assert all(np.isnan(v) for v in measure(LipMetric(), faceless(samples, range(0, 80)), samples, audio).values())
    assert all(np.isnan(v) for v in measure(LipMetric(), [], [], audio).values())


def test_closures_are_found_missed_and_invented():
    real = np.ones(60)
    real[[10, 11, 30, 31, 32]] = 0
    always = np.ones(60, bool)
    late, missed, invented = real.copy(), real.copy(), real.copy()
    late[10:14], missed[10:12], invented[45:48] = (1, 1, 0, 0), 1, 0
    assert closures(real, real, always) == (1, 1)
    assert closures(late, real, always) == (1, 1)
    assert closures(missed, real, always) == (0.5, 1)
    assert closures(invented, real, always) == (1, pytest.approx(5 / 8))
    # Shut for ever: it meets all closures, and is near them in 6 + 7 of 60 frames.
    assert closures(np.zeros(60), real, always) == (1, pytest.approx(13 / 60))
    assert np.isnan(closures(real, real, ~always)).all()  # nobody speaks


def test_one_frame_is_no_closure():
    real = np.ones(40)
    real[20] = 0
    assert np.isnan(closures(real, real, np.ones(40, bool))).all()


def test_speech_is_where_the_sound_is_loud_and_three_frames_around():
    sound = np.zeros(40 * 640, np.float32)
    sound[10 * 640 : 20 * 640] = 0.5
    assert np.flatnonzero(speaking(sound, 40)).tolist() == list(range(7, 23))
    assert not speaking(np.zeros(6400, np.float32), 10).any()


@given(st.integers(-10, 10), st.integers(0, 2**32 - 1))
def test_any_lag_is_found(lag, seed):
    signal = np.random.default_rng(seed).normal(size=120)
    assert best_lag(signal[20 - lag : 100 - lag], signal[20:100]) == lag


@given(st.floats(-10, 10), st.integers(2, 100))
def test_what_does_not_move_correlates_with_nothing(value, frames):
    moving = np.random.default_rng(0).normal(size=frames)
    assert correlation(np.full(frames, value), moving) == correlation(moving, np.full(frames, value)) == 0


@given(st.floats(0.1, 10), st.floats(-5, 5), st.integers(0, 2**32 - 1))
def test_correlation_does_not_mind_scale_and_offset(scale, offset, seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 50))
    assert correlation(scale * a + offset, b) == pytest.approx(correlation(a, b), abs=1e-9)


def test_lip_distance_counts_in_percent_of_the_face_s_width(seen):
    samples, _ = seen(CLIP)
    from kptalk.evaluate.metrics import lips

    points = np.array([sample.mesh[lips._KEPT] for sample in samples[:5]], np.float64)
    stable = list(lips.STABLE)
    width = np.linalg.norm(points[0, 40 + stable.index(234)] - points[0, 40 + stable.index(454)])
    lowered = points.copy()
    lowered[:, :40, 1] += 0.02 * width
    assert landmark_distance(lowered, points) == pytest.approx(2, rel=0.05)
