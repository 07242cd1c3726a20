"""The sync model: how embeddings of lips and sound are compared."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.networks.sync import N_LIPS, SyncModel, lag_correlations


@settings(max_examples=30, deadline=None)
@given(lag=st.integers(-15, 15), seed=st.integers(0, 1000))
def test_the_peak_is_where_the_sound_is(lag, seed):
    signal = torch.randn(1, 3, 120, generator=torch.Generator().manual_seed(seed))
    lips, sound = signal[..., 20:100], signal[..., 20 - lag : 100 - lag]  # the sound comes later by lag
    curve = lag_correlations(lips, sound, torch.ones(1, 1, 80))[0]
    assert curve.shape == (31,)
    assert curve.argmax() - 15 == lag
    assert curve.max() == pytest.approx(1, abs=0.02)
    assert curve.abs().sort().values[-2] < 0.6


def test_frames_without_a_face_do_not_count():
    lips, sound = torch.randn(2, 1, 4, 90, generator=torch.Generator().manual_seed(0))
    seen = (torch.arange(90) % 3 > 0).float()[None, None]
    changed = torch.where(seen > 0, lips, 100.0)
    assert torch.allclose(lag_correlations(lips, sound, seen), lag_correlations(changed, sound, seen), atol=1e-5)


def test_what_does_not_move_gives_embeddings_that_do_not():
    model = SyncModel().eval()
    with torch.inference_mode():
        lips, sound = model(torch.zeros(1, 60, N_LIPS), torch.zeros(1, 240, 80))
    assert lips.shape == sound.shape == (1, 32, 60)
    assert lips.std(-1).max() < 1e-5
    assert sound.std(-1).max() < 1e-5
    assert sum(p.numel() for p in model.parameters()) < 1e6
