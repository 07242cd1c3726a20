"""The lip net: one face a frame, from the sound around it, and the mouth that it gives to a motion."""

import numpy as np
import pytest
import torch
from fakes import PRIOR, FakeDenoiser, FakeEncoder
from torch import nn

from kptalk.face.topology import LID_PAIRS, LIPS_INNER
from kptalk.motion.facemesh.generator import POSE, FaceMeshGenerator, SamplerConfig
from kptalk.networks.lip_ensemble import LipEnsemble, LipEnsembleConfig
from kptalk.types import Motion

WAVE = 0.1 * np.sin(np.arange(150) / 4)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return LipEnsemble(LipEnsembleConfig(members=2, channels=(4, 4, 8, 8), width=16)).eval()


@pytest.mark.parametrize("frames", [1, 2, 63, 64, 100])
def test_one_face_a_frame(net, frames):
    with torch.inference_mode():
        assert net(torch.zeros(2, frames, 80, 16)).shape == (2, frames, 63)


def test_hears_what_is_near_alone(net):
    windows = torch.randn(1, 64, 80, 16, generator=torch.Generator().manual_seed(0))
    other = windows.clone()
    other[:, 40] += 1
    with torch.inference_mode():
        moved = (net(windows) - net(other)).abs().amax((0, 2))
    assert moved[40] > 1e-4
    assert moved[:20].max() == 0
    assert moved[60:].max() == 0


def test_the_mean_of_its_readers(net):
    windows = torch.randn(1, 64, 80, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = (member(windows) for member in net.members)
        assert (one - other).abs().mean() > 1e-3
        assert torch.allclose(net(windows), (one + other) / 2, atol=1e-6)


class Open(nn.Module):
    """Lips that open as the window grows louder; the lids as well."""

    def __init__(self, space):
        super().__init__()
        self.direction = torch.from_numpy((space.open_lips + space.blink).ravel() @ space.whiten)

    def forward(self, windows):
        return (windows[..., 8:] - windows[..., :8]).mean((2, 3))[..., None] * self.direction


def drawn(space, source, lips, **config):
    maker = FaceMeshGenerator(space, FakeEncoder(), FakeDenoiser(), PRIOR, SamplerConfig(steps=2, **config), lips)
    windows = np.zeros((150, 80, 16), np.float32)
    windows[..., 8:] = WAVE[:, None, None]
    head, _, state = maker.step(windows, maker.start(source, 0))
    return space.tokens(Motion.concatenate([head, maker.finish(state)[0]]), source.motion)


def test_the_mouth_follows_the_net_and_the_rest_does_not(space, source):
    alone, read = (drawn(space, source, lips, lip_share=1.0) for lips in (None, Open(space)))
    assert np.allclose(alone[:, :POSE], read[:, :POSE], atol=1e-4)
    gap = read[:, POSE:] @ space.lip_tokens()
    assert np.corrcoef(gap, WAVE)[0, 1] > 0.95
    change = ((read - alone)[:, POSE:] @ space.unwhiten).reshape(-1, 21, 3)
    moved = np.abs(space.decode(change)).max((0, 2))
    assert moved[LIPS_INNER].mean() > 1e-3
    assert moved[LID_PAIRS.ravel()].mean() < 0.2 * moved[LIPS_INNER].mean()


def test_no_share_is_no_net(space, source):
    assert np.allclose(drawn(space, source, None), drawn(space, source, Open(space), lip_share=0.0), atol=1e-5)
