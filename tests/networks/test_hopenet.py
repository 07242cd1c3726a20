"""Hopenet: numbers of the reference."""

import numpy as np
import pytest
import torch
from parity_weights import weights

from kptalk.evaluate.metrics.diversity import MEAN, STD, prepare
from kptalk.networks.hopenet import Hopenet, degrees

AXES = ("yaw", "pitch", "roll")


@pytest.fixture(scope="module")
def fixture(parity):
    return np.load(parity / "fixtures/hopenet.npz")


@torch.inference_mode()
def test_equals_the_reference(parity, fixture):
    network = Hopenet()
    network.load_state_dict(weights(parity, "hopenet"))
    network.eval()
    levels = torch.from_numpy(fixture["resized_centercrop_u8"]).permute(2, 0, 1).float() / 255
    picture = (levels - MEAN) / STD
    pictures = torch.stack([picture, picture.flip(-1)])
    atol = 10 * float(fixture["f32_noise_logits"])
    np.testing.assert_allclose(network.features(pictures), fixture["feature_2048"], atol=atol, rtol=1e-5)
    logits = network(pictures)
    for axis, name in enumerate(AXES):
        np.testing.assert_allclose(logits[:, axis], fixture[f"logits_{name}"], atol=atol, rtol=1e-5)
        np.testing.assert_allclose(degrees(logits[:, axis]), fixture[f"degree_{name}"], atol=100 * atol, rtol=1e-5)
    # From the crop on, where a pixel in ten thousand is one level off.
    own = network(prepare(fixture["crop_rgb_u8"])[None])
    expected = np.stack([fixture[f"degree_{name}"][0] for name in AXES])
    np.testing.assert_allclose(degrees(own)[0], expected, atol=0.005)


def test_degrees_of_single_bins():
    logits = torch.full((3, 66), -100.0)
    logits[[0, 1, 2], [0, 33, 65]] = 100
    np.testing.assert_allclose(degrees(logits), [-99, 0, 96], atol=1e-4)
