"""MFCC against the reference's numbers, and in blocks as in one piece."""

import numpy as np
import pytest

from kptalk.evaluate.metrics import mfcc as module
from kptalk.evaluate.metrics.mfcc import mfcc


def test_equals_the_reference(parity):
    fixture = np.load(parity / "fixtures/syncnet.npz")
    np.testing.assert_allclose(mfcc(fixture["wav_int16_3s"]), fixture["mfcc"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3), (16000, 99)])
def test_number_of_frames(samples, frames):
    assert mfcc(np.ones(samples, np.int16)).shape == (frames, 13)


def test_blocks_join_without_a_seam(monkeypatch):
    noise = np.random.default_rng(0).integers(-3000, 3000, 16000, np.int16)
    whole = mfcc(noise)
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_allclose(mfcc(noise), whole, rtol=1e-12)


def test_silence_is_finite():
    assert np.isfinite(mfcc(np.zeros(4000, np.int16))).all()
