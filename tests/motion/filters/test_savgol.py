"""The head made steady: noise goes, movement and faces stay."""

import numpy as np
import pytest
from fakes import random_motion

from kptalk.motion.facemesh.space import to_head_frame
from kptalk.motion.filters import savgol

steadied = savgol.smooth


def test_noise_goes_and_movement_stays():
    seconds = np.arange(100) / 25
    nod = 8 * np.sin(2 * np.pi * 1.2 * seconds)
    noise = np.random.default_rng(0).normal(0, 0.2, (100, 3)).astype(np.float32)
    clean = random_motion(100, 2).with_fields(rotation=np.stack([nod] * 3, 1))
    made = steadied(clean.with_fields(rotation=clean.rotation + noise))
    inner = slice(10, 90)
    assert np.abs(made.rotation - clean.rotation)[inner].mean() < 0.6 * np.abs(noise[inner]).mean()
    assert np.abs(steadied(clean).rotation - clean.rotation)[inner].max() < 0.2
    left = made.rotation - steadied(clean).rotation
    assert np.abs(np.diff(left, 2, axis=0)).mean() < 0.5 * np.abs(np.diff(noise, 2, axis=0)).mean()


def test_the_face_on_the_head_is_kept():
    motion = random_motion(30, 4)
    assert np.allclose(to_head_frame(steadied(motion)), to_head_frame(motion), atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_short_motion_keeps_its_length(length):
    assert len(steadied(random_motion(length, 4))) == length
