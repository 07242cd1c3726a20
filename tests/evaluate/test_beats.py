"""Beat alignment: the reference's beats and score, and planted beats that part in order."""

import numpy as np
import pytest
from measuring import measure

from kptalk.evaluate.metric import AudioPair, FrameSample
from kptalk.evaluate.metrics.beats import LANDMARKS, SIGMA, BeatsMetric, alignment, audio_beats, motion_beats

CLIP = "grid_mlbax_1"
PERIOD = 0.64  # s: 16 frames
FRAMES = 200


@pytest.fixture(scope="module")
def clicks():
    """Function: seconds of delay to 8 s of sound with a click every 0.64 s, from 0.64 s on."""

    def sound(delay):
        rng = np.random.default_rng(0)
        wave = rng.normal(0, 1e-4, FRAMES * 640)
        for at in np.arange(PERIOD, FRAMES / 25 - 0.4, PERIOD) + delay:
            start = round(16_000 * at)
            wave[start : start + 800] += rng.normal(0, 0.3, 800) * np.exp(-np.arange(800) / 150)
        return wave.astype(np.float32)

    return sound


@pytest.fixture
def nodding(seen):
    """A real face that nods and pauses at every click."""
    mesh = seen(CLIP)[0][0].mesh
    image = np.zeros((8, 8, 3), np.uint8)
    # Speed is lowest at multiples of the period.
    place = np.cumsum(1 - np.cos(2 * np.pi * (np.arange(FRAMES) - 0.5) / (25 * PERIOD)))
    return [FrameSample(image, mesh + np.float32([0, 2 * shift, 0])) for shift in place]


def test_reference_beats_and_score(parity):
    fixture = np.load(parity / "fixtures/beat_align.npz")
    beats = motion_beats(fixture["keypoints"])
    assert np.array_equal(beats, fixture["motion_beats_idx"])
    score = alignment(fixture["audio_beats_s"], beats / 25)
    assert score == pytest.approx(float(fixture["score_sigma0.1_fps25"]), abs=1e-9)


def test_each_direction_counts_its_own_beats():
    few, many = np.array([1.0]), np.array([1.0, 3.0])
    assert alignment(few, many) == 1
    assert alignment(many, few) == pytest.approx(0.5)
    assert alignment(np.array([1 + SIGMA]), few) == pytest.approx(np.exp(-0.5))
    assert np.isnan(alignment(few, np.zeros(0)))
    assert np.isnan(alignment(np.zeros(0), few))


def test_68_different_landmarks_of_both_halves_alike():
    assert len(set(LANDMARKS.tolist())) == len(LANDMARKS) == 68


@pytest.mark.slow
def test_planted_beats_are_found(clicks):
    beats = audio_beats(clicks(0))
    assert len(beats) >= 9
    assert np.abs(beats / PERIOD - np.round(beats / PERIOD)).max() * PERIOD < 0.06


@pytest.mark.slow
def test_no_sound_has_no_beat():
    assert len(audio_beats(np.zeros(0, np.float32))) == 0
    assert len(audio_beats(np.zeros(1000, np.float32))) == 0
    assert len(audio_beats(np.zeros(50_000, np.float32))) == 0


@pytest.mark.slow
def test_a_shifted_sound_lowers_both_in_order(nodding, clicks):
    results = [
        measure(BeatsMetric(), nodding, nodding, AudioPair(clicks(delay), clicks(0))) for delay in (0, 0.1, 0.2, 0.3)
    ]
    for key in ("beat_align", "beat_align_reference"):
        numbers = [result[key] for result in results]
        assert numbers[0] > 0.75
        assert np.all(np.diff(numbers) < -0.03)


@pytest.mark.slow
def test_faceless_frames_do_not_move_later_beats(nodding, clicks):
    audio = AudioPair(clicks(0), clicks(0))
    whole = measure(BeatsMetric(), nodding, nodding, audio)["beat_align"]
    gaps = [FrameSample(s.image, None) if k < 6 or 40 <= k < 47 else s for k, s in enumerate(nodding)]
    assert measure(BeatsMetric(), gaps, nodding, audio)["beat_align"] > whole - 0.1
    cut = [sample for sample in gaps if sample.mesh is not None]
    assert measure(BeatsMetric(), cut, nodding, audio)["beat_align"] < whole - 0.2


@pytest.mark.slow
def test_no_motion_and_no_face_are_no_number(nodding, clicks):
    audio = AudioPair(clicks(0), clicks(0))
    blind = [FrameSample(s.image, None) for s in nodding]
    for video in ([nodding[0]] * 100, blind, blind[:50] + nodding[:1]):
        assert np.isnan(list(measure(BeatsMetric(), video, nodding, audio).values())).all()


@pytest.mark.slow
def test_a_real_clip_has_numbers(seen):
    samples, sound = seen(CLIP)
    result = measure(BeatsMetric(), samples, samples, AudioPair(sound, sound))
    assert all(0 <= value <= 1 for value in result.values())
