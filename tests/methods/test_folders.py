"""The methods of trained model folders: loaded whole, or refused by name."""

import pytest
from speaking import speech

from kptalk.errors import OptionError, WeightsError
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.pipeline import Pipeline
from kptalk.types import Motion
from kptalk.weights.header import embedded_path
from kptalk.weights.model import facemesh_card, landmark_card, write_model_json
from kptalk.weights.store import save_model

CARDS = {"motion": facemesh_card, "a2l": landmark_card}  # by the denoiser's name


@pytest.fixture(params=CARDS)
def denoiser(request):
    return request.param


@pytest.fixture
def weights(tmp_path, denoiser):
    """A model folder as ``kptalk train`` leaves it, of small untrained networks."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    prior = "[" + ", ".join(["-1.5"] * 80) + "]"
    save_model(
        folder / "audio.safetensors", AudioEncoder(), AudioEncoderConfig(), {"speech_mel_mean": prior}, half=True
    )
    config = DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, rotary_dim=8)
    save_model(folder / f"{denoiser}.safetensors", Denoiser(config), config, {"sampler": '{"steps": 2}'}, half=True)
    write_model_json(folder, CARDS[denoiser]())
    return folder


def test_weights_of_a_folder(weights, denoiser, portrait):
    pipeline = Pipeline.from_pretrained(weights, "cpu")
    assert pipeline.method.generator.config.steps == 2
    motion = Motion.concatenate(list(pipeline.animate(portrait, speech(16_000)).motion()))
    assert len(motion) == 25
    assert motion.space == pipeline.method_name == CARDS[denoiser]().method


@pytest.mark.parametrize("name", ["facemesh", "audio", "denoiser"])
def test_a_missing_network_is_named(weights, denoiser, name):
    name = name.replace("denoiser", denoiser)
    (weights / f"{name}.safetensors").unlink()
    with pytest.raises(WeightsError, match=rf"missing weights: .*{name}\.safetensors"):
        Pipeline.from_pretrained(weights)


@pytest.mark.parametrize("name", ["facemesh", "audio", "denoiser"])
def test_a_damaged_network_is_named(weights, denoiser, name):
    name = name.replace("denoiser", denoiser)
    path = weights / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match=name):
        Pipeline.from_pretrained(weights)


@pytest.mark.parametrize("sampler", ['{"steps": 2, "magic": 1}', "nonsense", None])
def test_sampler_numbers_of_another_version_are_refused(weights, denoiser, sampler):
    config = DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, rotary_dim=8)
    extra = {} if sampler is None else {"sampler": sampler}
    save_model(weights / f"{denoiser}.safetensors", Denoiser(config), config, extra)
    with pytest.raises(WeightsError, match="train it with this version") as caught:
        Pipeline.from_pretrained(weights)
    assert "\n" not in str(caught.value)


def test_no_such_weights_or_device(weights):
    with pytest.raises(WeightsError, match="embedded"):
        Pipeline.from_pretrained("no such folder")
    with pytest.raises(OptionError):
        Pipeline.from_pretrained(weights, "tpu")
