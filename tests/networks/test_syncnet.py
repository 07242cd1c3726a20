"""SyncNet: numbers of the reference."""

import numpy as np
import pytest
import torch
from parity_weights import weights

from kptalk.evaluate.metrics.mfcc import mfcc
from kptalk.networks.syncnet import SyncNet


@pytest.fixture(scope="module")
def fixture(parity):
    return np.load(parity / "fixtures/syncnet.npz")


@pytest.fixture(scope="module")
def syncnet(parity):
    network = SyncNet()
    network.load_state_dict(weights(parity, "syncnet"))
    return network.eval()


@torch.inference_mode()
def test_lip_branch_equals_the_reference(fixture, syncnet):
    base = fixture["lip_base_u8"]
    frames = np.stack([base[:, t : t + 28].repeat(8, 0).repeat(8, 1) for t in range(30)])
    frames = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    features = syncnet.netcnnlip(frames[:6].transpose(0, 1)[None])[0, :, :, 0, 0].T
    np.testing.assert_allclose(features, fixture["lip_feature_512_first2"], atol=7e-5, rtol=1e-5)
    # In two parts, as a stream comes: the second begins four frames back.
    embeddings = torch.cat([syncnet.lips(frames[:17]), syncnet.lips(frames[13:])])[: fixture["num_windows"]]
    atol = 10 * fixture["f32_noise_lip"]
    np.testing.assert_allclose(embeddings, fixture["lip_embedding"], atol=atol, rtol=1e-5)


@torch.inference_mode()
def test_sound_branch_equals_the_reference(fixture, syncnet):
    sound = torch.from_numpy(mfcc(fixture["wav_int16_3s"])).float()
    windows = torch.stack([sound[4 * v : 4 * v + 20].T for v in range(fixture["num_windows"])])
    atol = 10 * fixture["f32_noise_audio"]
    np.testing.assert_allclose(syncnet.sound(windows), fixture["audio_embedding"], atol=atol, rtol=1e-5)
