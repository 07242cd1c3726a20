"""The audio encoder: names and numbers of the reference."""

import numpy as np
import pytest
import torch
from parity_weights import weights

from kptalk.networks.audio_encoder import AudioEncoder


@pytest.fixture(scope="module")
def encoder(parity):
    encoder = AudioEncoder()
    encoder.load_state_dict(weights(parity, "wav2lip_audio_encoder"))
    return encoder.eval()


@torch.inference_mode()
def test_equals_the_reference(parity, encoder):
    fixture = np.load(parity / "fixtures/audio_encoder.npz")
    speech = torch.from_numpy(np.load(parity / "fixtures/audio_mel.npz")["windows"])
    np.testing.assert_allclose(encoder(speech), fixture["embedding_75x512"], atol=2.4e-5, rtol=1e-5)
    random = torch.from_numpy(fixture["random_mel_windows"])[0]
    np.testing.assert_allclose(encoder(random), fixture["random_embedding"][0], atol=2.4e-5, rtol=1e-5)
    assert torch.equal(encoder(random), encoder(random[:, 0]))
