"""The SPADE decoder: folded weights and picture of the reference."""

import numpy as np
import pytest
import torch
from parity_weights import normal

from kptalk.networks.spade import SpadeDecoder, fold_spectral_norm

LAYERS = ("G_middle_0.conv_0", "up_0.conv_s", "up_1.conv_1")


@pytest.mark.parametrize("layer", LAYERS)
def test_folded_weights_equal_the_reference(reference, spectral, decoder, layer):
    stored = reference("lp_spade_generator")
    weight = decoder.get_parameter(f"{layer}.weight").detach()
    stored.check(f"effective_weight/{layer}", weight.double(), 1e-8, rtol=1e-6)
    sigma = (spectral[f"{layer}.weight_orig"] / weight).double()
    np.testing.assert_allclose(sigma.median(), stored[f"sigma/{layer}"], rtol=1e-6)


def test_folding_takes_exactly_the_spectral_entries_away(spectral):
    folded = fold_spectral_norm(spectral)
    assert folded.keys() == SpadeDecoder().state_dict().keys()
    again = fold_spectral_norm(folded)
    assert all(torch.equal(again[name], value) for name, value in folded.items())
    kept = [name for name in spectral if name in folded]
    assert all(folded[name] is spectral[name] for name in kept)
    assert len(kept) == sum(not name.endswith(("_orig", "_u", "_v")) for name in spectral)


@torch.inference_mode()
def test_picture_equals_the_reference(reference, decoder):
    features = torch.from_numpy(normal("input/spade_feature", (1, 256, 64, 64)).astype(np.float32))
    reference("lp_spade_generator").check("image", decoder(features), 4.4e-6)


def test_warped_picture_equals_the_reference(reference, decoded):
    reference("lp_warp_decode").check("out", decoded, 1.3e-4)
