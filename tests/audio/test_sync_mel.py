"""Mel frames of the sync model: in step with the video, the same for any gain."""

import numpy as np
import pytest

from kptalk.audio.sync_mel import sound_frames


def test_mel_frames_are_in_step_with_the_pictures():
    sound = np.zeros(16_000, np.float32)
    sound[10 * 640] = 1  # the instant of video frame 10
    loud = sound_frames(sound, 25).sum(1)
    assert loud.shape == (100,)
    centre = (loud - loud.min()) @ np.arange(100) / (loud - loud.min()).sum()
    assert centre == pytest.approx(40, abs=0.6)


def test_the_colour_of_the_microphone_is_taken_out():
    rng = np.random.default_rng(0)
    sound = (0.3 * rng.normal(size=16_000) * (2 + np.sin(np.arange(16_000) / 500))).astype(np.float32)
    assert np.abs(sound_frames(sound, 25) - sound_frames(0.5 * sound, 25)).max() < 1e-3
