"""Windows: the reference's at 25 fps, the right number of them at any rate, the same as a stream."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio import mel, windows
from kptalk.types import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("ignore:.*sound in the recording")

rates = st.one_of(
    st.sampled_from([Fraction(25), Fraction(30), Fraction(24000, 1001), Fraction(60), Fraction(12)]),
    st.fractions(1, 120, max_denominator=1001),
)


def whole(samples, fps):
    return np.concatenate(list(windows.SpeechWindows([samples], fps)))


@pytest.fixture(scope="module")
def reference(parity):
    return np.load(parity / "fixtures/audio_mel.npz")


def test_windows_equal_the_reference(reference):
    result = whole(reference["wav_16k_mono_3s"], Fraction(25))
    np.testing.assert_allclose(result, reference["windows"], atol=1e-6)


def test_odd_length_equals_the_reference(reference):
    # The reference first drops what does not fill a frame of 640 samples.
    kept = int(reference["odd_length_samples"]) // 640 * 640
    result = whole(reference["wav_16k_mono_3s"][:kept], Fraction(25))
    assert len(result) == reference["odd_num_windows"]
    np.testing.assert_allclose(result[-3:], reference["odd_windows_last3"], atol=1e-6)


def test_start_equals_the_reference_formula():
    assert [windows.window_start(i, Fraction(25)) for i in range(20_000)] == [
        int(80 * ((i - 2) / 25)) for i in range(20_000)
    ]


@given(st.integers(0, 10**6), rates)
def test_start_depends_on_the_instant_alone(frame, fps):
    assert windows.window_start(frame, fps) == windows.window_start(3 * frame, 3 * fps)


@given(st.integers(0, 10**9), rates)
def test_the_picture_lasts_as_long_as_the_sound_and_less_than_a_frame_longer(n_samples, fps):
    count = windows.frame_count(n_samples, fps)
    assert count / fps >= Fraction(n_samples, SAMPLE_RATE)
    assert count == 1 or (count - 1) / fps < Fraction(n_samples, SAMPLE_RATE)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=6), rates, st.integers(0, 2**32 - 1))
def test_stream_equals_offline_for_any_chunks(lengths, fps, seed):
    samples = np.random.default_rng(seed).normal(0, 0.1, sum(lengths)).astype(np.float32)
    state, parts = windows.start(fps), []
    for chunk in np.split(samples, np.cumsum(lengths)):
        ready, state = windows.step(chunk, state)
        parts.append(ready)
        assert len(state.frames) <= windows.MEL_WINDOW + 81  # never more than the gap between two frames at 1 fps
    streamed = np.concatenate([*parts, windows.finish(state)])
    assert streamed.shape == (windows.frame_count(len(samples), fps), 80, 16)
    np.testing.assert_allclose(streamed, whole(samples, fps), atol=1e-6)
    spectrogram = mel.mel_spectrogram(samples)
    first = windows.window_start(len(streamed) - 1, fps)
    clamped = np.clip(np.arange(first, first + 16), 0, spectrogram.shape[1] - 1)
    np.testing.assert_allclose(streamed[-1], spectrogram[:, clamped], atol=1e-5)


def test_a_stream_lags_by_an_eighth_of_a_second():
    sound = np.zeros(16000, np.float32)
    ready, _ = windows.step(sound, windows.start(Fraction(25)))
    assert len(ready) >= 25 - 4


@pytest.fixture(scope="module")
def noise():
    return 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)


def test_windows_of_a_whole_spectrogram_are_those_of_the_stream(noise):
    wanted = whole(noise, Fraction(25))
    found = windows.mel_windows(mel.mel_spectrogram(noise).T, np.arange(len(wanted)), Fraction(25))
    assert np.array_equal(found, wanted)


def test_windows_between_frames_begin_between(noise):
    spectrogram = mel.mel_spectrogram(noise).T
    found = windows.mel_windows(spectrogram, np.array([20, 20.5, 21, 10.0]), Fraction(25))
    for window, start in zip(found, (57, 59, 60, 25), strict=True):
        assert np.array_equal(window, spectrogram[start : start + 16].T.astype(np.float32))


def test_the_seed_of_a_speech_is_its_own_and_survives_rounding():
    rng = np.random.default_rng(0)
    speeches = [rng.uniform(-0.3, 0.3, 40_000).astype(np.float32) * rng.uniform(0.1, 1) for _ in range(8)]
    seeds = [windows.SpeechWindows([speech], 25).seed(0) for speech in speeches]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert windows.SpeechWindows([speeches[0]], 25).seed(1) not in seeds
    for pieces in (3, 500):
        assert windows.SpeechWindows(np.array_split(speeches[0], pieces), 25).seed(0) == seeds[0]
    rounded = speeches[0] + rng.uniform(-1e-7, 1e-7, len(speeches[0])).astype(np.float32)
    assert windows.SpeechWindows([rounded], 25).seed(0) == seeds[0]
    later = np.concatenate([speeches[0], speeches[1]])
    assert windows.SpeechWindows([later], 25).seed(0) == seeds[0]  # a stream: what comes later is not waited for


@pytest.mark.parametrize("length", [0, 1, 639, 640, 641, 100_000])
def test_looking_at_the_seed_takes_nothing_away(length):
    samples = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    chunks = [samples[first : first + 16_000] for first in range(0, length, 16_000)]
    looked_at = windows.SpeechWindows(chunks, Fraction(25))
    assert isinstance(looked_at.seed(7), int)
    np.testing.assert_array_equal(np.concatenate(list(looked_at)), whole(samples, Fraction(25)))
    assert looked_at.samples == length
