"""The lip ensemble: one expression for each frame, from the sound around it."""

import pytest
import torch

from kptalk.networks.lip_ensemble import LipEnsemble, LipEnsembleConfig


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return LipEnsemble(LipEnsembleConfig(members=2, channels=(4, 4, 8, 8), width=16)).eval()


@pytest.mark.parametrize("frames", [1, 2, 63, 64, 100])
def test_one_expression_per_frame(net, frames):
    with torch.inference_mode():
        assert net(torch.zeros(2, frames, 80, 16)).shape == (2, frames, 63)


def test_a_frame_depends_on_the_sound_around_it_alone(net):
    windows = torch.randn(1, 64, 80, 16, generator=torch.Generator().manual_seed(0))
    other = windows.clone()
    other[:, 40] += 1
    with torch.inference_mode():
        moved = (net(windows) - net(other)).abs().amax((0, 2))
    assert moved[40] > 1e-4
    assert moved[:20].max() == 0
    assert moved[60:].max() == 0


def test_the_mean_of_its_members(net):
    windows = torch.randn(1, 64, 80, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = (member(windows) for member in net.members)
        assert (one - other).abs().mean() > 1e-3
        assert torch.allclose(net(windows), (one + other) / 2, atol=1e-6)
