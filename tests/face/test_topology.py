"""Landmark numbers: parts of the face are where they should be on a real face."""

import numpy as np
import pytest
from fakes import facemesh_space

from kptalk.face import topology as indices


@pytest.fixture(scope="module")
def mesh():
    return facemesh_space().template


def test_left_and_right_are_those_of_the_picture(mesh):
    left, right = mesh[indices.EYE_CORNERS].mean(1)
    assert left[0] < right[0]
    for eye, middle in enumerate((left, right)):
        assert np.linalg.norm(mesh[indices.LID_PAIRS[eye]].mean((0, 1)) - middle) < 0.15
        assert np.linalg.norm(mesh[indices.IRISES[eye, 0]] - middle) < 0.2


def test_pairs_lie_above_each_other(mesh):
    for pairs in (indices.LIP_PAIRS, *indices.LID_PAIRS):
        assert (np.diff(mesh[pairs[:, 0], 0]) > 0).all()
        assert np.abs(mesh[pairs[:, 0], 0] - mesh[pairs[:, 1], 0]).max() < 0.06
    assert (mesh[indices.LID_PAIRS[..., 0], 1] < mesh[indices.LID_PAIRS[..., 1], 1]).all()


def test_rings_are_closed_and_without_doubles(mesh):
    for ring in (indices.OVAL, indices.LIPS_INNER, indices.LIPS_OUTER):
        assert len(set(ring)) == len(ring)
        steps = np.linalg.norm(np.diff(mesh[np.r_[ring, ring[0]]], axis=0), axis=1)
        assert steps.max() < 4 * np.median(steps)


def test_lip_opening_is_signed(mesh):
    opened = mesh.copy()
    opened[14, 1] = opened[13, 1] + 0.2
    crossed = mesh.copy()
    crossed[14, 1] = crossed[13, 1] - 0.2
    openings = indices.lip_opening(np.stack([opened, crossed]))
    assert openings[0] > 0.19
    assert openings[1] < -0.19


def test_lid_opening_and_gaze_do_not_depend_on_size_and_place(mesh):
    moved = 30 * mesh + (100, 40, 0)
    assert np.allclose(indices.lid_opening(moved), indices.lid_opening(mesh), atol=1e-5)
    assert np.allclose(indices.gaze(moved), indices.gaze(mesh), atol=1e-4)


def test_gaze_follows_the_irises(mesh):
    looking = mesh.copy()
    looking[indices.IRISES.ravel()] += (0.05, 0.02, 0)
    change = indices.gaze(looking) - indices.gaze(mesh)
    assert change[0] > 0.1
    assert change[1] > 0.04
