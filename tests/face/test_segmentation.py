"""Segmentation: the person apart from the background, in the picture's size."""

import numpy as np
import pytest
from skimage import data

from kptalk.face.segmentation import segment_person


@pytest.fixture(scope="module")
def face():
    return np.ascontiguousarray(data.astronaut()[:300, 80:380])


def test_a_person_is_told_from_the_background(face):
    person = segment_person(face)
    assert person.shape == (300, 300)
    assert person.dtype == np.float32
    assert person[80:160, 110:160].mean() > 0.95
    assert person[:40, -40:].mean() < 0.05


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 7, 3), (1, 1, 3), (1, 30), (90, 40, 4)])
def test_pictures_of_any_size(shape):
    person = segment_person(np.full(shape, 200, np.uint8))
    assert person.shape == shape[:2]
    assert ((person >= 0) & (person <= 1)).all()
