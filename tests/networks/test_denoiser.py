"""The denoiser: names and numbers of the reference, and properties of its embeddings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity_weights import weights

from kptalk.networks.denoiser import OFFICIAL_PREFIX, Denoiser, DenoiserConfig
from kptalk.networks.embedding import RotaryEmbedding, distance_bucket
from kptalk.networks.noise_schedule import alphas_cumprod

COMPACT = DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, time_dim=16, audio_dim=8, rotary_dim=8, window=10)


@pytest.fixture(scope="module")
def reference(parity):
    return {
        key: torch.from_numpy(value)
        for key, value in np.load(parity / "fixtures/kdtalker_noise_prediction.npz").items()
    }


@pytest.fixture(scope="module")
def official(parity):
    denoiser = Denoiser()
    state = weights(parity, "kdtalker_point_diffusion")
    denoiser.load_state_dict({name.removeprefix(OFFICIAL_PREFIX): value for name, value in state.items()})
    return denoiser.eval()


def close(got, expected, atol):
    torch.testing.assert_close(got, expected, atol=atol, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("t", "noise"), [(0, 1.2e-6), (500, 1.9e-6), (980, 1.4e-6)])
def test_predicts_the_noise_of_the_reference(official, reference, t, noise):
    got = official(reference["x_t_input"], torch.tensor([t]), reference["aud_feat_66"])
    close(got, reference[f"noise_pred_t{t}"], 10 * noise)


@torch.inference_mode()
def test_intermediates_equal_the_reference(official, reference):
    seen = {}

    def watch(name):
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    first, _, attention = official.layers[0]
    watched = {"h_input_projection": official.input_projection, "h_layer0_block0": first, "h_layer0": attention}
    watched |= {"sinusoidal_t500": official.time_mlp[0], "time_mlp_t500": official.time_mlp}
    hooks = [module.register_forward_hook(watch(name)) for name, module in watched.items()]
    official(reference["x_t_input"], torch.tensor([500]), reference["aud_feat_66"])
    for hook in hooks:
        hook.remove()
    for name in ("h_input_projection", "h_layer0_block0", "h_layer0"):
        close(seen[name].flatten()[:: int(reference[f"{name}__stride"])], reference[f"{name}__sample"], 2e-5)
    close(seen["sinusoidal_t500"], reference["sinusoidal_t500"], 1e-4)  # float32 phases, finding 9
    close(seen["time_mlp_t500"], reference["time_mlp_t500"], 2e-5)


@torch.inference_mode()
def test_position_embeddings_equal_the_reference(official, reference):
    close(official.time_rel_pos_bias(66), reference["rel_pos_bias_66"], 0)
    assert torch.equal(official.time_rel_pos_bias.buckets, reference["rel_pos_bucket_66"])
    rotary = official.layers[0][2].fn.fn.rotary_emb
    close(rotary(reference["rope_in"]), reference["rope_out"], 1e-5)


@given(st.integers(-200, 200))
def test_buckets_tell_direction_and_grow_with_distance(distance):
    bucket, further = distance_bucket(torch.tensor([distance, distance + (1 if distance >= 0 else -1)])).tolist()
    assert (bucket >= 16) == (distance < 0)
    assert bucket % 16 <= further % 16 <= 15
    if abs(distance) < 8:
        assert bucket % 16 == abs(distance)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 30))
def test_rotated_products_depend_on_the_distance_alone(query, key, offset):
    content = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0)).expand(2, 1, 1, 100, 16)
    q, k = (RotaryEmbedding(8)(x)[0, 0] for x in content)
    torch.testing.assert_close(q[query] @ k[key], q[query + offset] @ k[key + offset], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_v_prediction_gives_epsilon():
    torch.manual_seed(0)
    velocity = Denoiser(replace(COMPACT, prediction="v")).eval()
    plain = Denoiser(COMPACT).eval()
    plain.load_state_dict(velocity.state_dict())
    x, audio, t = torch.randn(3, 12, 70), torch.randn(3, 12, 8), torch.tensor([0, 400, 999])
    share = alphas_cumprod()[t][:, None, None]
    close(velocity(x, t, audio), share.sqrt() * plain(x, t, audio) + (1 - share).sqrt() * x, 1e-6)


def test_a_prediction_of_another_kind():
    with pytest.raises(ValueError, match="unknown prediction 'x0'"):
        replace(COMPACT, prediction="x0")


@pytest.mark.parametrize(("config", "limit"), [(COMPACT, 12), (DenoiserConfig(depth=1), 66)])
def test_more_tokens_than_positions(config, limit):
    denoiser, t = Denoiser(config).eval(), torch.tensor([1])
    x, audio = torch.zeros(1, limit + 1, 70), torch.zeros(1, limit + 1, config.audio_dim)
    assert denoiser(x[:, :limit], t, audio[:, :limit]).isfinite().all()
    with pytest.raises(ValueError, match=f"sequence of {limit + 1} tokens exceeds the maximum of {limit}"):
        denoiser(x, t, audio)


@torch.inference_mode()
def test_audio_of_a_frame_reaches_every_frame():
    torch.manual_seed(0)
    denoiser = Denoiser(COMPACT).eval()
    x, audio, t = torch.randn(1, 12, 70), torch.randn(1, 12, 8), torch.tensor([500])
    changed = audio.clone()
    changed[0, 7] += 1
    moved = (denoiser(x, t, changed) - denoiser(x, t, audio)).abs().sum(-1)[0]
    assert (moved > 0).all()
    assert moved.argmax() == 7
