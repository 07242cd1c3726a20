"""Landmark numbers and triangles: parts of the face are where they should be on a real face."""

import numpy as np
import pytest
from fakes import facemesh_space

from kptalk.face import topology
from kptalk.face.topology import OVAL, TRIANGLES


@pytest.fixture(scope="module")
def mesh():
    return facemesh_space().template


def test_left_and_right_are_those_of_the_picture(mesh):
    left, right = mesh[topology.EYE_CORNERS].mean(1)
    assert left[0] < right[0]
    for eye, middle in enumerate((left, right)):
        assert np.linalg.norm(mesh[topology.LID_PAIRS[eye]].mean((0, 1)) - middle) < 0.15
        assert np.linalg.norm(mesh[topology.IRISES[eye, 0]] - middle) < 0.2


def test_pairs_lie_above_each_other(mesh):
    for pairs in (topology.LIP_PAIRS, *topology.LID_PAIRS):
        assert (np.diff(mesh[pairs[:, 0], 0]) > 0).all()
        assert np.abs(mesh[pairs[:, 0], 0] - mesh[pairs[:, 1], 0]).max() < 0.06
    assert (mesh[topology.LID_PAIRS[..., 0], 1] < mesh[topology.LID_PAIRS[..., 1], 1]).all()


def test_rings_are_closed_and_without_doubles(mesh):
    for ring in (topology.OVAL, topology.LIPS_INNER, topology.LIPS_OUTER):
        assert len(set(ring)) == len(ring)
        steps = np.linalg.norm(np.diff(mesh[np.r_[ring, ring[0]]], axis=0), axis=1)
        assert steps.max() < 4 * np.median(steps)


def test_the_triangles_are_one_sheet_that_closes_the_eyes_and_the_mouth():
    assert TRIANGLES.shape == (898, 3)
    assert set(TRIANGLES.ravel()) == set(range(468))  # all points but the irises
    sides = np.sort(TRIANGLES[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    sides, shared = np.unique(sides, axis=0, return_counts=True)
    assert shared.max() == 2
    assert set(sides[shared == 1].ravel()) == set(OVAL)  # only the outline has nothing beside it
    assert (shared == 1).sum() == len(OVAL)
