"""Openings and gaze: signed, and independent of the face's size and place."""

import numpy as np
import pytest
from fakes import facemesh_space

from kptalk.face.measures import gaze, lid_opening, lip_opening
from kptalk.face.topology import IRISES


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
