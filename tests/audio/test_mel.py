"""The mel spectrogram: equal to the reference, and equal however the sound is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio import mel


@pytest.fixture(scope="module")
def reference(parity):
    return np.load(parity / "fixtures/audio_mel.npz")


def test_equals_the_reference(reference):
    result = mel.mel_spectrogram(reference["wav_16k_mono_3s"])
    assert result.shape == (80, 241)
    np.testing.assert_allclose(result, reference["mel"], atol=1e-9)


def test_filters_equal_the_reference(reference):
    np.testing.assert_allclose(mel.mel_basis(), reference["mel_basis"], atol=1e-9)


def test_silence_is_the_lowest_value():
    assert np.all(mel.mel_spectrogram(np.zeros(1000, np.float32)) == mel.SILENCE)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(0, 1), (1, 1), (199, 1), (200, 2), (16000, 81)])
def test_number_of_frames(n_samples, n_frames):
    assert mel.mel_spectrogram(np.zeros(n_samples, np.float32)).shape == (80, n_frames)


def test_a_tone_lights_its_own_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    centre = mel.mel_basis().argmax(1) * 20  # Hz
    assert abs(centre[mel.mel_spectrogram(tone)[:, 40].argmax()] - 1000) <= 40


@settings(deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=8), st.integers(0, 2**32 - 1))
def test_stream_equals_offline_for_any_chunks(lengths, seed):
    samples = np.random.default_rng(seed).normal(0, 0.1, sum(lengths)).astype(np.float32)
    state, parts = mel.start(), []
    for chunk in np.split(samples, np.cumsum(lengths)):
        frames, state = mel.step(chunk, state)
        parts.append(frames)
        assert len(state.pending) < mel.N_FFT + mel.HOP
    streamed = np.concatenate([*parts, mel.finish(state)]).T
    np.testing.assert_allclose(streamed, mel.mel_spectrogram(samples), atol=1e-9)
