"""Loudness as the standard has it, whatever the chunks; one level for every recording; no speech out of noise."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio import loudness
from kptalk.audio.windows import PATIENCE, SpeechWindows
from kptalk.types import SAMPLE_RATE

RATE = SAMPLE_RATE


def sine(seconds: float, decibel: float = 0.0, hertz: float = 997.0) -> np.ndarray:
    """Of so much below full scale."""
    wave = 10 ** (decibel / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    return wave.astype(np.float32)


def noise(seconds: float, decibel: float = -20.0, seed: int = 0) -> np.ndarray:
    wave = 10 ** (decibel / 20) * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return wave.astype(np.float32)


def syllables(seconds: float, decibel: float = -20.0) -> np.ndarray:
    """Noise that comes and goes four times a second, with pauses."""
    time = np.arange(round(seconds * RATE)) / RATE
    envelope = np.sin(4 * np.pi * time) ** 2 * (0.3 + 0.7 * np.sin(0.7 * np.pi * time) ** 2)
    return (noise(seconds, decibel) * envelope).astype(np.float32)


def levelled(samples: np.ndarray, target: float | None = -20.0, cuts: object = ()) -> np.ndarray:
    state, parts = loudness.start(), []
    for chunk in np.split(samples, cuts):
        sound, state = loudness.step(chunk, target, state)
        parts.append(sound)
    return np.concatenate([*parts, loudness.finish(target, state)[0]])


def measured(samples: np.ndarray) -> float:
    state = loudness.step(samples, None, loudness.start())[1]
    return loudness.loudness(loudness.finish(None, state)[1])[0]


@pytest.mark.parametrize(
    ("samples", "lufs"),
    [
        (sine(20), -3.01),  # the definition: 0 dB full scale at 997 Hz in one channel
        (sine(20, -23), -26.0),
        (sine(20, -20, 100.0), -24.8),  # the high-pass
        (sine(20, -20, 6000.0), -19.7),  # the shelf
        (np.concatenate([sine(20, -23), np.zeros(20 * RATE, np.float32)]), -26.0),  # the absolute gate
        (np.concatenate([sine(20, -20), sine(20, -40)]), -23.0),  # the relative gate
        (np.concatenate([sine(20, -20), sine(20, -26)]), -25.05),  # 6 dB apart: a mean of powers
        (sine(0.25, -20), -23.0),  # shorter than a block
        (sine(0.05, -20), -23.0),  # shorter than a step
    ],
)
def test_known_loudness(samples, lufs):
    assert measured(samples) == pytest.approx(lufs, abs=0.15)


def test_silence_has_none():
    assert measured(np.zeros(5 * RATE, np.float32)) == -np.inf
    assert measured(np.zeros(0, np.float32)) == -np.inf


@pytest.mark.parametrize("decibel", [0, -20, -35])
@pytest.mark.parametrize("seconds", [0.3, 3, 15])
def test_one_level_for_every_recording(decibel, seconds):
    samples = syllables(seconds)
    result = levelled((samples * 10 ** (decibel / 20)).astype(np.float32))
    np.testing.assert_allclose(result, levelled(samples), atol=2e-4)
    assert measured(result) == pytest.approx(-20, abs=0.5)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 13 * RATE), max_size=12), target=st.sampled_from([None, -20.0]))
def test_chunks_do_not_matter(cuts, target):
    samples = syllables(13) * np.linspace(0.05, 1, 13 * RATE, dtype=np.float32)
    result = levelled(samples, target, sorted(cuts))
    np.testing.assert_array_equal(result, levelled(samples, target))
    assert len(result) == len(samples)
    if target is None:
        np.testing.assert_array_equal(result, samples)


def test_samples_come_before_the_end():
    state, given_out = loudness.start(), 0
    for second in np.split(syllables(30), 30):
        sound, state = loudness.step(second, -20.0, state)
        given_out += len(sound)
        assert len(state.waiting) < loudness.FIRST * loudness.STEP
    assert given_out == 29 * RATE


def test_the_gain_has_no_steps():
    """Where the second half is 30 dB louder, it changes by little from sample to sample."""
    samples = np.concatenate([syllables(20, -50), syllables(20, -20)])
    place = np.flatnonzero(np.abs(samples) > 1e-4)
    gain = levelled(samples)[place] / samples[place]
    assert gain.max() > 10 * gain.min()
    assert (np.abs(np.diff(gain)) / np.diff(place)).max() < 1.01 * gain.max() / loudness.STEP


@pytest.mark.parametrize("quiet", [noise(12, -60), noise(12, -80), sine(12, -50), np.zeros(12 * RATE, np.float32)])
def test_noise_of_a_room_becomes_silence(quiet):
    assert not levelled(quiet).any()


def test_speech_after_a_long_pause_of_noise_is_heard():
    samples = np.concatenate([noise(15, -60), syllables(10, -35)])
    result = levelled(samples)
    assert not result[: 4 * RATE].any()
    assert measured(result[15 * RATE :]) == pytest.approx(-20, abs=5)


@pytest.mark.parametrize(
    ("quiet", "words"),
    [(np.zeros(2 * RATE, np.float32), "no sound at all"), (noise(3, -65), "hardly any sound")],
)
@pytest.mark.parametrize("target", [None, -20.0])
def test_silence_is_said(quiet, words, target):
    with pytest.warns(UserWarning, match=f"{words} in the recording") as said:
        windows = np.concatenate(list(SpeechWindows(np.split(quiet, 2), Fraction(25)).at_loudness(target)))
    assert len(said) == 1
    assert len(windows) == len(quiet) * 25 // RATE


def test_of_a_long_recording_silence_is_said_before_its_end():
    heard = SpeechWindows((np.zeros(RATE, np.float32) for _ in range(120)), Fraction(25))
    windows = heard.at_loudness(-20.0)
    with pytest.warns(UserWarning, match="no sound at all") as said:
        next(window for window in windows if heard.samples > PATIENCE)
    assert len(said) == 1
    assert heard.samples < PATIENCE + 2 * RATE
    assert sum(len(window) for window in windows) > 0  # and not again, since warnings are errors here


def test_windows_of_any_level_are_the_same():
    samples = syllables(4)
    quiet, loud = (
        np.concatenate(list(SpeechWindows([gain * samples], Fraction(25)).at_loudness(-20.0))) for gain in (0.03, 1)
    )
    np.testing.assert_allclose(quiet, loud, atol=2e-3)
