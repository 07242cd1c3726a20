"""Smoothing of drawn motion: nothing moves in time, still things stay."""

import numpy as np
from fakes import close, random_motion

from kptalk.motion.facemesh.space import to_head_frame
from kptalk.motion.filters import gaussian
from kptalk.types import Motion

smoothed = gaussian.smooth


def test_what_does_not_move_stays():
    motion = Motion.concatenate([random_motion(1)] * 40)
    assert close(smoothed(motion), motion)


def test_nothing_moves_in_time():
    motion = random_motion(60).with_fields(rotation=np.zeros((60, 3)))
    rotation = np.zeros((60, 3))
    rotation[30] = 9
    out = smoothed(motion.with_fields(rotation=rotation)).rotation[:, 0]
    assert out.argmax() == 30
    assert np.allclose(out, out[::-1][np.r_[-1, :59]], atol=1e-5)


def test_jitter_of_the_head_goes_and_the_lips_stay():
    still = Motion.concatenate([random_motion(1)] * 200)
    time = np.arange(200) / 25
    shaking = still.with_fields(rotation=still.rotation + 0.3 * np.sin(2 * np.pi * 9 * time)[:, None])
    assert np.ptp(smoothed(shaking).rotation[20:-20, 0]) < 0.05
    speaking = still.with_fields(
        rotation=np.zeros((200, 3)), expression=0.1 * np.sin(2 * np.pi * 4 * time)[:, None, None] * np.ones((21, 3))
    )
    assert np.ptp(to_head_frame(smoothed(speaking))[20:-20]) > 0.75 * 0.2
