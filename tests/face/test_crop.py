"""Regions of a picture: cut out as MediaPipe does it, and points in them brought back."""

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
