"""Stitching and retargeting: numbers of the reference."""

import pytest
import torch
from parity_weights import weights

from kptalk.networks.stitching import EYE, StitchingNetwork, StitchingNetworkConfig, retarget, stitch

CONFIGS = {"stitching": StitchingNetworkConfig(), "eye": EYE, "lip": StitchingNetworkConfig(65, (128, 128, 64), 63)}


@pytest.fixture(scope="module")
def stored(reference):
    return reference("lp_stitching_retargeting")


@pytest.fixture(scope="module")
def network(parity):
    def load(kind):
        network = StitchingNetwork(CONFIGS[kind])
        network.load_state_dict(weights(parity, f"stitching_retargeting_module_{kind}"))
        return network.eval()

    return load


@torch.inference_mode()
def test_stitching_equals_the_reference(stored, network):
    source, driving, stitching = stored["kp_source"], stored["kp_driving"], network("stitching")
    stored.check("stitch_delta", stitching(torch.cat([source.flatten(1), driving.flatten(1)], 1)), 1e-5)
    stored.check("stitching", stitch(stitching, source, driving), 1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["eye", "lip"])
def test_retargeting_equals_the_reference(stored, network, kind):
    found = retarget(network(kind), stored["kp_source"], stored[f"{kind}_close_ratio"])
    stored.check(f"retarget_{kind}", found.flatten(1), 1e-5)
