"""Every network of the official files has the parameters, names and shapes of the reference."""

import pytest
import torch
from parity_weights import manifest

from kptalk.networks.denoiser import OFFICIAL_PREFIX
from kptalk.networks.spade import fold_spectral_norm
from kptalk.weights.official import TARGETS
from kptalk.weights.store import shapes

SIZES = {
    "appearance_extractor": ("appearance_feature_extractor", 836_224),
    "motion_extractor": ("motion_extractor", 28_118_728),
    "warping": ("warping_module", 45_529_829),
    "decoder": ("spade_generator", 55_365_388),
    "stitching": ("stitching_retargeting_module_stitching", 45_249),
    "retargeting_eye": ("stitching_retargeting_module_eye", 144_703),
    "kdtalker": ("kdtalker_point_diffusion", 42_926_284),
    "audio": ("wav2lip_audio_encoder", 2_812_672),
    "syncnet": ("syncnet", 13_631_616),
    "hopenet": ("hopenet", 23_919_890),
}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_the_reference(parity, name):
    file, size = SIZES[name]
    with torch.device("meta"):
        network = TARGETS[name].model_class(TARGETS[name].config)
    reference = manifest(parity, file)
    assert sum(p.numel() for p in network.parameters()) == reference["parameters"] == size
    expected = {item["name"].removeprefix(OFFICIAL_PREFIX): tuple(item["shape"]) for item in reference["entries"]}
    if name == "decoder":  # its spectral norms are folded
        expected = shapes(fold_spectral_norm({key: torch.ones(shape) for key, shape in expected.items()}))
    assert shapes(network.state_dict()) == expected
