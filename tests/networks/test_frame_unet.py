"""The U-Net that draws frames, and its critic."""

import pytest
import torch
from drawing import SMALL, small_unet

from kptalk.networks.frame_unet import FrameUNet, FrameUNetConfig, PatchCritic


def inputs(frames=5, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, frames, 3, size, size, generator=generator)
    return x, torch.tensor([0, 999]), torch.randn(2, frames, 18, size, size, generator=generator)


def test_before_training_it_changes_nothing():
    x, t, condition = inputs()
    with torch.inference_mode():
        assert not FrameUNet(SMALL)(x, t, condition).any()


@torch.inference_mode()
def test_everything_that_it_is_given_counts():
    network, (x, t, condition) = small_unet(), inputs()
    for block in (*network.down, network.middle, *network.up):
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
        torch.nn.init.normal_(block.conv2.weight, std=0.1)
    out = network(x, t, condition)
    assert out.shape == x.shape
    for changed in ((-x, t, condition), (x, 999 - t, condition), (x, t, -condition)):
        assert not torch.allclose(network(*changed), out)


@torch.inference_mode()
@pytest.mark.parametrize("levels", [2, 3])
def test_a_frame_sees_as_many_neighbours_as_there_are_layers(levels):
    network = small_unet(widths=(8, 16, 24)[:levels])
    assert network.context == levels - 1
    x, t, condition = inputs(frames=7)
    other = x.clone()
    other[:, 6] = -other[:, 6]
    same = (network(x, t, condition) - network(other, t, condition)).abs().amax((0, 2, 3, 4)) < 1e-6
    assert same.tolist() == [True] * (6 - network.context) + [False] * (network.context + 1)


@torch.inference_mode()
def test_frames_alone_without_layers_over_them():
    network, (x, t, condition) = small_unet(temporal=False), inputs()
    one = network(x[:, :1], t, condition[:, :1])
    assert torch.allclose(network(x, t, condition)[:, :1], one, atol=1e-5)


@torch.inference_mode()
def test_sound_in_the_place_of_landmarks():
    network, (x, t, condition) = small_unet(audio_dim=10), inputs()
    for block in network.up:
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
        torch.nn.init.normal_(block.conv2.weight, std=0.1)
    a, b = (network(x, t, condition, torch.full((2, 5, 10), level)) for level in (0.0, 1.0))
    assert not torch.allclose(a, b)


@pytest.mark.parametrize("wrong", [{"size": 33}, {"size": 2048}, {"size": 34}, {"widths": (8,) * 6}], ids=str)
def test_sizes_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="side of"):
        FrameUNetConfig(**{**vars(SMALL), **wrong})


def test_the_critic_scores_patches():
    score, features = PatchCritic()(torch.randn(3, 4, 64, 72))
    assert score.shape[:2] == (3, 1)
    assert score.shape[2] * score.shape[3] > 100
    assert len(features) == 3
