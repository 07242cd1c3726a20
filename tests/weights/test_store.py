"""Weights files: what was saved comes back, and every other file is refused in one line."""

import json
import struct
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kptalk.errors import WeightsError
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.weights.header import embedded_path, read_header
from kptalk.weights.store import load_model, save_model

COMPACT = DenoiserConfig(dim=32, depth=2, heads=2, head_dim=16, time_dim=16, audio_dim=8, rotary_dim=8, window=10)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "motion.safetensors"
    save_model(path, Denoiser(COMPACT), COMPACT, {"licence": "CC0-1.0"})
    return path


def refused(path, match):
    with pytest.raises(WeightsError, match=match) as caught:
        load_model(path, Denoiser, DenoiserConfig)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def rewrite(path, change_tensors=lambda t: None, change_header=lambda h: None):
    tensors, header = load_file(path), read_header(path)
    change_tensors(tensors)
    change_header(header)
    save_file(tensors, path, metadata=header)


@pytest.mark.parametrize("half", [False, True])
def test_what_was_saved_comes_back(tmp_path, half):
    path = tmp_path / "model.safetensors"
    config = replace(COMPACT, prediction="v")
    model = Denoiser(config)
    save_model(path, model, config, half=half)
    loaded = load_model(path, Denoiser, DenoiserConfig)
    assert loaded.config == config
    assert not loaded.training
    for name, value in model.state_dict().items():
        got = loaded.state_dict()[name]
        assert got.dtype == value.dtype
        torch.testing.assert_close(got, value.half().float() if half else value, atol=0, rtol=0)


def test_tuples_and_integers_survive(tmp_path):
    config = AudioEncoderConfig(widths=(2, 4, 4, 8, 8))
    encoder = AudioEncoder(config)
    encoder(torch.randn(3, 80, 16))  # counts a batch
    save_model(tmp_path / "audio.safetensors", encoder, config, half=True)
    loaded = load_model(tmp_path / "audio.safetensors", AudioEncoder, AudioEncoderConfig)
    assert loaded.config == config
    assert loaded.audio_encoder[0].conv_block[1].num_batches_tracked == 1


def test_loading_does_not_keep_the_shared_frequencies_apart(saved):
    loaded = load_model(saved, Denoiser, DenoiserConfig)
    assert loaded.layers[0][2].fn.fn.rotary_emb is loaded.layers[1][2].fn.fn.rotary_emb


def test_loading_draws_no_random_numbers(saved):
    """Those of a program that loads a model stay its own, and the weights are the file's."""
    before = torch.get_rng_state()
    model = load_model(saved, Denoiser, DenoiserConfig)
    assert torch.equal(torch.get_rng_state(), before)
    stored = load_file(saved)
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    with torch.random.fork_rng():
        assert nn.Linear(3, 3).weight.abs().sum() > 0  # elsewhere networks begin as ever


def test_header_says_what_the_file_is(saved):
    header = read_header(saved)
    assert header["architecture"] == "Denoiser"
    assert header["licence"] == "CC0-1.0"
    assert json.loads(header["config"])["dim"] == 32


def test_absent_file(tmp_path):
    refused(tmp_path / "absent.safetensors", "do not exist")


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda content, kept=kept: content[:kept] for kept in (0, 4, 100, -1)),
        lambda content: b"PK\x03\x04 a pickle in a zip",
        lambda content: struct.pack("<Q", 2**62) + content[8:],  # a header that claims another length
    ],
)
def test_damaged_file(saved, damage):
    saved.write_bytes(damage(saved.read_bytes()))
    refused(saved, "damaged")


def test_a_folder(tmp_path):
    refused(tmp_path, "damaged")


def test_foreign_safetensors(saved):
    save_file({"x": torch.zeros(1)}, saved)
    refused(saved, "no kptalk model, expected Denoiser")


def test_other_architecture(saved):
    with pytest.raises(WeightsError, match="hold Denoiser, expected AudioEncoder"):
        load_model(saved, AudioEncoder, AudioEncoderConfig)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda tensors: tensors.pop("input_projection.bias"), r"1 missing \(input_projection.bias\)"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (
            lambda tensors: tensors.update({"input_projection.bias": torch.zeros(3)}),
            r"1 misshaped \(input_projection.bias \(3,\) instead of \(32,\)\)",
        ),
    ],
)
def test_tensors_that_do_not_fit(saved, change, complaint):
    rewrite(saved, change)
    refused(saved, complaint)


@pytest.mark.parametrize(("skip", "prediction"), [(True, "v"), (False, "epsilon")])
def test_files_from_before_the_prediction_had_a_name_load(saved, skip, prediction):
    old = {key: value for key, value in vars(COMPACT).items() if key != "prediction"} | {"input_skip": skip}
    rewrite(saved, change_header=lambda header: header.update(config=json.dumps(old)))
    assert load_model(saved, Denoiser, DenoiserConfig).config == replace(COMPACT, prediction=prediction)


def test_the_embedded_denoiser_predicts_v():
    assert load_model(embedded_path("motion"), Denoiser, DenoiserConfig).config.prediction == "v"


@pytest.mark.parametrize("config", ["", "[]", '{"dims": 3}', '{"dim": "wide"}', '{"dim": -1}', '{"prediction": "x"}'])
def test_config_that_describes_nothing(saved, config):
    rewrite(saved, change_header=lambda header: header.update(config=config))
    refused(saved, "invalid Denoiser config")


def test_numbers_beyond_float16_are_refused_and_leave_the_old_file(saved):
    before = saved.read_bytes()
    model = Denoiser(COMPACT)
    nn.init.constant_(model.input_projection.bias, 1e6)
    with pytest.raises(WeightsError, match="overflows float16"):
        save_model(saved, model, COMPACT, half=True)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_folder_that_does_not_exist(tmp_path):
    @dataclass(frozen=True)
    class Nothing:
        pass

    with pytest.raises(WeightsError, match="cannot write"):
        save_model(tmp_path / "absent" / "x.safetensors", nn.Linear(1, 1), Nothing())


def test_embedded_weights_are_found_by_name():
    assert embedded_path("facemesh").is_file()
    with pytest.raises(WeightsError, match=r"no embedded weights 'nonsense'.*facemesh"):
        embedded_path("nonsense")
