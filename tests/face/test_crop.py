"""Regions of a picture: cut out as MediaPipe does it, and points in them brought back."""

import cv2
import numpy as np
import pytest

from kptalk.face.crop import Region, whole

Y, X = np.mgrid[:80, :100].astype(np.uint8)
RAMP = np.dstack([X, Y, np.zeros_like(X)])


@pytest.mark.parametrize("angle", [0, 0.3, -2.0, np.pi])
def test_pixels_and_points_go_the_same_way(angle):
    region = Region(50, 40, 40, 30, angle)
    crop = region.cut(RAMP, 20)
    v, u = np.mgrid[:20, :20] / 20
    assert np.abs(region.to_picture(np.dstack([u, v])) - crop[..., :2]).max() < 0.55


@pytest.mark.skipif(not cv2.__version__.startswith("4."), reason="from version 5 on OpenCV does not round")
@pytest.mark.parametrize("repeat_edges", [False, True])
def test_as_opencv_4_samples(repeat_edges):
    region, side = Region(40, 60, 90, 90, 0.4), 48
    corners = np.float32([(0, 0), (1, 0), (1, 1), (0, 1)])
    matrix = cv2.getPerspectiveTransform(region.to_picture(corners), corners * side)
    border = cv2.BORDER_REPLICATE if repeat_edges else cv2.BORDER_CONSTANT
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    expected = cv2.warpPerspective(noise, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    assert (region.cut(noise, side, repeat_edges=repeat_edges) != expected).mean() < 1e-2


def test_outside_it_is_black_or_like_the_edge():
    region = Region(0, 0, 40, 40)
    white = np.full((80, 100, 3), 255, np.uint8)
    assert (region.cut(white, 20)[:9, :9] == 0).all()
    assert (region.cut(white, 20, repeat_edges=True) == 255).all()


def test_the_whole_picture():
    assert np.abs(whole(RAMP).cut(RAMP, 10)[0, :, 0] - np.arange(0, 100, 10)).max() <= 1
    bars = whole(RAMP, square=True).cut(RAMP + np.uint8(1), 10)
    assert (bars[[0, 9]] == 0).all()
    assert (bars[1:9] > 0).all()
