"""Openings, gaze and lip shape: signed, and independent of the face's size and place."""

import numpy as np
import pytest
from fakes import facemesh_space
from media_shared import CLIPS, clip_landmarks

from kptalk.face.geometry import rotation_matrix
from kptalk.face.measures import gaze, lid_opening, lip_opening, lip_shape
from kptalk.face.topology import IRISES, STABLE_POINTS
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.sync import N_LIPS, N_POINTS
from kptalk.weights.header import embedded_path


@pytest.fixture(scope="module")
def mesh():
    return facemesh_space().template


def test_lip_opening_is_signed(mesh):
    opened = mesh.copy()
    opened[14, 1] = opened[13, 1] + 0.2
    crossed = mesh.copy()
    crossed[14, 1] = crossed[13, 1] - 0.2
    openings = lip_opening(np.stack([opened, crossed]))
    assert openings[0] > 0.19
    assert openings[1] < -0.19


def test_lid_opening_and_gaze_do_not_depend_on_size_and_place(mesh):
    moved = 30 * mesh + (100, 40, 0)
    assert np.allclose(lid_opening(moved), lid_opening(mesh), atol=1e-5)
    assert np.allclose(gaze(moved), gaze(mesh), atol=1e-4)


def test_gaze_follows_the_irises(mesh):
    looking = mesh.copy()
    looking[IRISES.ravel()] += (0.05, 0.02, 0)
    change = gaze(looking) - gaze(mesh)
    assert change[0] > 0.1
    assert change[1] > 0.04


@pytest.fixture(scope="module")
def meshes():
    """(20, 478, 3) of a talking face."""
    return clip_landmarks(CLIPS / "grid_mlbax_1.mp4", 0.8)


@pytest.fixture(scope="module")
def points():
    return FaceMeshSpace.load(embedded_path("facemesh")).template[STABLE_POINTS]


def test_lips_have_no_pose(meshes, points):
    turned = 1.7 * meshes @ rotation_matrix(np.array([12.0, -8.0, 20.0])) + np.array([30.0, -50.0, 9.0])
    own = lip_shape(meshes, points)
    assert points.shape == (N_POINTS, 3)
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
