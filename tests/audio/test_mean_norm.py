"""Running spectral mean: removes the colour of voice and room, leaves silence alone, and takes any chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio import mean_norm
from kptalk.audio.mel import SILENCE

PRIOR = np.linspace(-2, -1, 80).astype(np.float32)


def speech(length, seed=0, loudness=-1.0):
    rng = np.random.default_rng(seed)
    return (loudness + 0.3 * rng.standard_normal((length, 80, 16))).astype(np.float32)


def test_nothing_heard_leaves_the_prior():
    state = mean_norm.start(PRIOR)
    assert np.allclose(mean_norm.apply(speech(3), state), speech(3) - PRIOR[:, None], atol=1e-6)


@pytest.mark.parametrize("length", [1, 64, 1500])
def test_silence_keeps_the_prior(length):
    silence = np.full((length, 80, 16), SILENCE, np.float32)
    state = mean_norm.update(silence, mean_norm.start(PRIOR))
    assert np.allclose(state.total / state.weight, PRIOR)
    assert state.weight == mean_norm.PRIOR_FRAMES


@settings(deadline=None)
@given(st.integers(1, 200), st.data())
def test_chunks_do_not_matter(length, data):
    windows = speech(length)
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=5)))
    state = mean_norm.start(PRIOR)
    for part in np.split(windows, cuts):
        state = mean_norm.update(part, state)
    whole = mean_norm.update(windows, mean_norm.start(PRIOR))
    assert np.allclose(state.total, whole.total)
    assert state.weight == pytest.approx(whole.weight)


def test_long_speech_loses_its_colour():
    colour = np.linspace(-0.8, 0.8, 80).astype(np.float32)[:, None]
    plain, coloured = speech(2000), speech(2000) + colour
    heard = [mean_norm.apply(w, mean_norm.update(w, mean_norm.start(PRIOR))) for w in (plain, coloured)]
    assert np.abs(heard[0].mean((0, 2)) - heard[1].mean((0, 2))).max() < 0.02
    assert np.abs(heard[1].mean((0, 2))).max() < 0.05


def test_speech_after_silence_is_the_same_as_speech_alone():
    silence = np.full((300, 80, 16), SILENCE, np.float32)
    after = mean_norm.update(speech(100), mean_norm.update(silence, mean_norm.start(PRIOR)))
    alone = mean_norm.update(speech(100), mean_norm.start(PRIOR))
    assert np.allclose(after.total / after.weight, alone.total / alone.weight)


def test_weight_grows_with_loudness():
    weight = mean_norm.speech_weight(np.repeat(np.linspace(-4, 4, 50)[:, None], 80, 1))
    assert (np.diff(weight) >= 0).all()
    assert (weight[0], weight[-1]) == (0, 1)


def test_state_is_not_changed_by_hearing():
    state = mean_norm.start(PRIOR)
    before = state.total.copy()
    mean_norm.update(speech(10), state)
    assert np.array_equal(state.total, before)
