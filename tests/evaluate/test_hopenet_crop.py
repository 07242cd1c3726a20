"""The picture that Hopenet sees: cut and prepared as in the reference."""

import numpy as np
import pytest

from kptalk.evaluate.metrics.diversity import MEAN, STD, center_crop, prepare, with_margins


@pytest.fixture(scope="module")
def fixture(parity):
    return np.load(parity / "fixtures/hopenet.npz")


def test_picture_is_resized_and_cut_as_in_the_reference(fixture):
    own = center_crop(fixture["crop_rgb_u8"])
    off = np.abs(own.astype(int) - fixture["resized_centercrop_u8"])
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001


def test_prepared_picture_is_normalised(fixture):
    levels = prepare(fixture["crop_rgb_u8"]) * STD + MEAN
    np.testing.assert_allclose(levels.permute(1, 2, 0) * 255, center_crop(fixture["crop_rgb_u8"]), atol=1e-3)


@pytest.mark.parametrize("shape", [(40, 90), (300, 224), (1, 1), (7, 700)])
def test_any_shape_is_made_square(shape):
    assert center_crop(np.full((*shape, 3), 77, np.uint8)).shape == (224, 224, 3)


def test_margins_equal_the_reference(fixture):
    boxes = zip(fixture["bbox_xyxy"].tolist(), fixture["bbox_margined_in_256x256"].tolist(), strict=True)
    for box, expected in boxes:
        assert with_margins(tuple(box), 256, 256) == tuple(expected)
