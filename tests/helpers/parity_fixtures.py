"""LivePortrait's networks with weights by rule, the stored arrays of the reference, and the volume of its picture."""

import numpy as np
import pytest
import torch
from parity_weights import weights

from kptalk.networks.appearance import AppearanceExtractor
from kptalk.networks.spade import SpadeDecoder, fold_spectral_norm
from kptalk.networks.warping import WarpingNetwork


class Reference:
    """One npz file of the reference; large arrays are stored as every n-th element."""

    def __init__(self, path):
        self.arrays = np.load(path)

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[name])

    def check(self, name, found, atol, rtol=1e-5):
        """Compare a whole array, or what is stored of it."""
        if name in self.arrays:
            expected = self[name]
        else:
            assert list(found.shape) == self.arrays[f"{name}__shape"].tolist()
            expected = self[f"{name}__sample"]
            mean, std = self.arrays[f"{name}__mean"], self.arrays[f"{name}__std"]
            assert abs(found.double().mean().item() - mean) < atol
            assert abs(found.double().std(correction=0).item() - std) < atol + 1e-5 * std
            found = found.reshape(-1)[:: int(self.arrays[f"{name}__stride"])]
        torch.testing.assert_close(found, expected, atol=atol, rtol=rtol)


@pytest.fixture(scope="session")
def reference(parity):
    return lambda name: Reference(parity / "fixtures" / f"{name}.npz")


@pytest.fixture(scope="session")
def appearance(parity):
    network = AppearanceExtractor()
    network.load_state_dict(weights(parity, "appearance_feature_extractor"))
    return network.eval()


@pytest.fixture(scope="session")
def warping(parity):
    network = WarpingNetwork()
    network.load_state_dict(weights(parity, "warping_module"))
    return network.eval()


@pytest.fixture(scope="session")
def spectral(parity):
    """The decoder's state dict as the official file has it."""
    return weights(parity, "spade_generator")


@pytest.fixture(scope="session")
def decoder(spectral):
    network = SpadeDecoder()
    network.load_state_dict(fold_spectral_norm(spectral))
    return network.eval()


@pytest.fixture(scope="session")
def picture(reference):
    """The reference's picture as a network takes it, (1, 3, 256, 256)."""
    image = reference("lp_appearance_feature_extractor")["image_rgb_u8"]
    return image.permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="session")
def volume(appearance, picture):
    with torch.inference_mode():
        return appearance(picture)


@pytest.fixture(scope="session")
def warped(reference, warping, volume):
    """Features of the frame that the reference stored."""
    stored = reference("lp_warping_module")
    with torch.inference_mode():
        return warping(volume, stored["kp_driving"], stored["kp_source"])


@pytest.fixture(scope="session")
def decoded(decoder, warped):
    """The frame's picture, (1, 3, 512, 512)."""
    with torch.inference_mode():
        return decoder(warped)
