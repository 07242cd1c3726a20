"""The mouth that the lip ensemble gives to a motion."""

import numpy as np
import torch
from fakes import PRIOR, FakeDenoiser, FakeEncoder
from torch import nn

from kptalk.face.topology import LID_PAIRS, LIPS_INNER
from kptalk.motion.facemesh.generator import N_POSE, FaceMeshGenerator, SamplerConfig
from kptalk.types import Motion

WAVE = 0.1 * np.sin(np.arange(150) / 4)


class Open(nn.Module):
    """Lips that open as the window grows louder; the lids as well."""

    def __init__(self, space):
        super().__init__()
        self.direction = torch.from_numpy((space.open_lips + space.blink).ravel() @ space.whiten)

    def forward(self, windows):
        return (windows[..., 8:] - windows[..., :8]).mean((2, 3))[..., None] * self.direction


def drawn(space, source, lips, **config):
    generator = FaceMeshGenerator(space, FakeEncoder(), FakeDenoiser(), PRIOR, SamplerConfig(steps=2, **config), lips)
    windows = np.zeros((150, 80, 16), np.float32)
    windows[..., 8:] = WAVE[:, None, None]
    head, _, state = generator.step(windows, generator.start(source, 0))
    return space.tokens(Motion.concatenate([head, generator.finish(state)[0]]), source.motion)


def test_the_mouth_follows_the_ensemble_and_the_rest_does_not(space, source):
    alone, read = (drawn(space, source, lips, lip_share=1.0) for lips in (None, Open(space)))
    assert np.allclose(alone[:, :N_POSE], read[:, :N_POSE], atol=1e-4)
    gap = read[:, N_POSE:] @ space.lip_tokens()
    assert np.corrcoef(gap, WAVE)[0, 1] > 0.95
    change = ((read - alone)[:, N_POSE:] @ space.unwhiten).reshape(-1, 21, 3)
    moved = np.abs(space.decode(change)).max((0, 2))
    assert moved[LIPS_INNER].mean() > 1e-3
    assert moved[LID_PAIRS.ravel()].mean() < 0.2 * moved[LIPS_INNER].mean()


def test_no_share_is_no_ensemble(space, source):
    assert np.allclose(drawn(space, source, None), drawn(space, source, Open(space), lip_share=0.0), atol=1e-5)
