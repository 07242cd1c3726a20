"""The guided filter: flat regions are averaged, the picture's edges kept."""

import cv2
import numpy as np
import pytest
from skimage import data

from kptalk.render.mesh.guided_filter import guided_filter


@pytest.fixture(scope="module")
def photo():
    return data.astronaut()[:160, 120:300]


def test_what_is_linear_in_the_colours_stays(photo):
    """Each window is fitted by a linear function of the colours."""
    values = (photo @ np.array([0.001, -0.002, 0.003]) + 0.2).astype(np.float32)
    assert np.abs(guided_filter(photo, values, 5, 1e-3) - values).max() < 2e-3


@pytest.mark.parametrize("radius", [1, 7, 100])
def test_a_constant_stays(photo, radius):
    assert np.abs(guided_filter(photo, np.full(photo.shape[:2], 0.7, np.float32), radius, 60.0) - 0.7).max() < 1e-3


def test_without_edges_in_the_picture_it_is_two_box_filters():
    noise = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    blurred = noise
    for _ in range(2):
        blurred = cv2.blur(blurred, (7, 7), borderType=cv2.BORDER_REFLECT)
    flat = np.full((40, 50, 3), 90, np.uint8)
    assert np.abs(guided_filter(flat, noise, 3, 60.0) - blurred).max() < 1e-5


def test_a_coarse_mask_gets_the_pictures_edge():
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:, 30:] = (200, 180, 90)
    mask = cv2.blur((picture[..., 0] > 0).astype(np.float32), (15, 1))
    mask[:, :30] *= 0.5
    refined = guided_filter(picture, mask, 14, 60.0)
    assert np.ptp(refined[5:55, 29]) < 0.01
    assert (refined[5:55, 30] - refined[5:55, 29] > 3 * (mask[5:55, 31] - mask[5:55, 30])).all()


@pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="this OpenCV has no contributed modules to compare with")
@pytest.mark.parametrize("radius", [2, 7, 14])
def test_as_opencvs_contributed_filter(photo, radius):
    rng = np.random.default_rng(radius)
    for mask in (rng.random(photo.shape[:2]), photo[..., 0] > 120):
        mask = mask.astype(np.float32)
        expected = cv2.ximgproc.guidedFilter(photo, mask, radius, 60.0)
        assert np.abs(guided_filter(photo, mask, radius, 60.0) - expected).max() < 1e-3
