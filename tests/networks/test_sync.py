"""The sync model's inputs, and how lips and sound are compared."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from media_shared import clip_landmarks

from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.sync import N_LIPS, OVERLAP, SyncModel, lag_correlations, lip_shape, sound_frames
from kptalk.weights.store import embedded_path


@pytest.fixture(scope="module")
def meshes(shared_data):
    """(20, 478, 3) of a talking face."""
    return clip_landmarks(shared_data / "clips/val/mead_W040_1.mp4", 0.8)


@pytest.fixture(scope="module")
def points():
    return FaceMeshSpace.load(embedded_path("facemesh")).template[OVERLAP]


@settings(max_examples=30, deadline=None)
@given(lag=st.integers(-15, 15), seed=st.integers(0, 1000))
def test_the_peak_is_where_the_sound_is(lag, seed):
    signal = torch.randn(1, 3, 120, generator=torch.Generator().manual_seed(seed))
    lips, sound = signal[..., 20:100], signal[..., 20 - lag : 100 - lag]  # the sound comes later by lag
    curve = lag_correlations(lips, sound, torch.ones(1, 1, 80))[0]
    assert curve.shape == (31,)
    assert curve.argmax() - 15 == lag
    assert curve.max() == pytest.approx(1, abs=0.02)
    assert curve.abs().sort().values[-2] < 0.6


def test_frames_without_a_face_do_not_count():
    lips, sound = torch.randn(2, 1, 4, 90, generator=torch.Generator().manual_seed(0))
    seen = (torch.arange(90) % 3 > 0).float()[None, None]
    changed = torch.where(seen > 0, lips, 100.0)
    assert torch.allclose(lag_correlations(lips, sound, seen), lag_correlations(changed, sound, seen), atol=1e-5)


def test_lips_have_no_pose(meshes, points):
    turned = 1.7 * meshes @ rotation_matrix(np.array([12.0, -8.0, 20.0])) + np.array([30.0, -50.0, 9.0])
    own = lip_shape(meshes, points)
    assert own.shape == (20, N_LIPS)
    assert np.abs(lip_shape(turned.astype(np.float32), points) - own).max() < 1e-3
    assert own.std(0).max() > 0.1


def test_open_lips_are_told_from_shut_ones(meshes, points):
    opened = meshes.copy()
    below = [95, 88, 178, 87, 14, 317, 402, 318, 324]
    opened[:, below, 1] += 10
    moved = (lip_shape(opened, points) - lip_shape(meshes, points)).reshape(20, -1)
    assert (moved[:, 5 * 3 + 1] > 0.5).all()  # the middle of the lower lip
    assert np.abs(moved[:, 6 * 3 : 11 * 3]).max() < 1e-4  # the upper lip


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


def test_what_does_not_move_gives_embeddings_that_do_not():
    model = SyncModel().eval()
    with torch.inference_mode():
        lips, sound = model(torch.zeros(1, 60, N_LIPS), torch.zeros(1, 240, 80))
    assert lips.shape == sound.shape == (1, 32, 60)
    assert lips.std(-1).max() < 1e-5
    assert sound.std(-1).max() < 1e-5
    assert sum(p.numel() for p in model.parameters()) < 1e6
