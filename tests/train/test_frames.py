"""``kptalk train vae`` and ``kptalk train l2v`` at smoke size, from clips to a renderer that draws."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets_made import written
from drawing import SMALL, SMALL_VAE, small_unet
from fakes import plain_portrait
from safetensors.numpy import load_file

from kptalk.errors import DatasetError, MissingExtra, OptionError, WeightsError
from kptalk.methods.landmark import load_space
from kptalk.methods.latent import load_renderer
from kptalk.networks.frame_unet import FrameUNet
from kptalk.render.latent.latents import FrameAutoencoder, LatentUNet
from kptalk.train import l2v
from kptalk.train.data import Inputs
from kptalk.train.frame_configs import L2V, VAE
from kptalk.train.l2v import FrameTraining, inputs_of, mouth_of
from kptalk.train.loop import Draw
from kptalk.train.losses import critic_loss, energy, loss_weight, psnr, weighted
from kptalk.train.picture_data import batch
from kptalk.train.recipes import RECIPES, train_network
from kptalk.types import Motion
from kptalk.weights.header import read_header
from kptalk.weights.model import landmark_card, open_model, write_model_json
from kptalk.weights.store import save_model


def drawn(folder, space):
    """Two frames of the photo's own face by the folder's L2V."""
    renderer = load_renderer(open_model(folder), load_space(open_model(folder)))
    prepared = renderer.prepare(plain_portrait(space, 128))
    still = renderer.source(prepared).motion
    _, state = renderer.step(Motion.concatenate([still, still]), renderer.start(prepared, 0))
    return renderer, renderer.finish(state)


@pytest.fixture
def data(picture_folder, model_folder):
    return l2v.data(Inputs(picture_folder, model_folder, 0, "cpu", L2V["smoke"]))


@pytest.mark.slow
def test_pixels_from_clips_to_frames(picture_folder, model_folder, space):
    path = train_network("l2v", picture_folder, model_folder, config="smoke", steps=7)
    header, tensors = read_header(path), load_file(path)
    assert header["architecture"] == FrameUNet.__name__
    assert json.loads(header["sampler"]) == {"steps": 1, "guidance": 1.0}
    assert all(value.dtype == np.float16 for value in tensors.values())
    assert not any(name.startswith("critic") for name in tensors)
    renderer, frames = drawn(model_folder, space)
    assert (renderer.steps, renderer.guidance, renderer.size) == (1, 1.0, 32)
    assert frames.shape == (2, 128, 128, 3)
    assert open_model(model_folder).method == "landmark"


@pytest.mark.slow
def test_latents_from_clips_to_frames(picture_folder, model_folder, space):
    with pytest.raises(WeightsError, match=r"l2v needs vae\.safetensors.*train vae first"):
        train_network("l2v", picture_folder, model_folder, config="latent-smoke")
    path = train_network("vae", picture_folder, model_folder, config="smoke", steps=7)
    assert read_header(path)["architecture"] == FrameAutoencoder.__name__
    assert load_file(path)["scale"] != 1
    path = train_network("l2v", picture_folder, model_folder, config="latent-smoke", steps=2)
    assert read_header(path)["architecture"] == LatentUNet.__name__
    renderer, frames = drawn(model_folder, space)
    assert renderer.denoiser.noise_shape == (4, 16, 16)
    assert frames.shape == (2, 128, 128, 3)


def test_stopped_and_resumed_is_as_uninterrupted(picture_folder, model_folder):
    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    train = {"data": picture_folder, "folder": model_folder, "config": "smoke", "steps": 12}
    first = load_file(train_network("l2v", **train))
    shutil.rmtree(model_folder / "l2v.log")
    with pytest.raises(StoppedError):
        train_network("l2v", **train, on_progress=stop)
    resumed = load_file(train_network("l2v", **train))
    assert all(np.array_equal(value, resumed[name]) for name, value in first.items())
    with (model_folder / "l2v.log" / "log.csv").open() as file:
        assert [float(row["step"]) for row in csv.DictReader(file)] == [10, 12]


def test_training_brings_the_loss_down(data):
    torch.manual_seed(0)
    model = FrameTraining(replace(SMALL), critic_from=1000)
    optimiser, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    b = batch([(data.sets[0], 0), (data.sets[0], 1)])
    for step in range(40):
        value = model.loss(b, data, Draw(0, step, 0, range(2)))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])


def test_the_score_is_that_of_people_held_out(data):
    model = l2v.build(data).eval()
    with torch.inference_mode():
        found = l2v.measure(model, data)
        assert np.isfinite(l2v.score(data)(model))
    assert found["mouth"] == pytest.approx(found["mouth_mesh"], abs=12)
    shut = replace(data.held_out[0], points=np.zeros_like(data.held_out[0].points))
    with torch.inference_mode():
        assert np.isnan(l2v.measure(model, replace(data, held_out=[shut]))["inside"])


SWITCHES = [{}, {"landmarks": False}, {"warp": False}, {"temporal": False}]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_ablations_train(picture_folder, model_folder, switches):
    data = l2v.data(Inputs(picture_folder, model_folder, 0, "cpu", L2V["smoke"]), **switches)
    model = l2v.build(data)
    assert l2v.loss(data)(model, Draw(0, 0, 0, range(2))).isfinite()
    b = batch([(data.sets[0], 0)])
    base, condition, sound = inputs_of(b, data)
    assert (sound is None) is data.landmarks
    assert bool(condition[:, :, 3:8].any()) is data.landmarks
    assert torch.equal(base[:, 0, :, 0], base[:, 1, :, 0]) is not (data.warp and data.landmarks)
    assert (model.network.context > 0) is data.temporal
    assert model.network.config.audio_dim == (0 if data.landmarks else 1280)


def test_a_network_without_landmarks_is_no_renderer(model_folder):
    write_model_json(model_folder, landmark_card())
    network = small_unet(audio_dim=1280)
    header = {"sampler": '{"steps": 1, "guidance": 1.0}'}
    save_model(model_folder / "l2v.safetensors", network, network.config, header)
    with pytest.raises(WeightsError, match="does not draw from landmarks"):
        load_renderer(open_model(model_folder), load_space(open_model(model_folder)))


def test_configs_that_are_not_there(picture_folder, model_folder):
    with pytest.raises(OptionError, match=r"no config 'embedded'"):
        train_network("vae", picture_folder, model_folder)
    with pytest.raises(OptionError, match=r"no config 'huge'"):
        train_network("l2v", picture_folder, model_folder, config="huge")
    assert tuple(RECIPES["l2v"].configs) == tuple(L2V)
    assert tuple(RECIPES["vae"].configs) == tuple(VAE)


def test_an_autoencoder_of_another_config_is_refused(picture_folder, model_folder):
    other = FrameAutoencoder(replace(SMALL_VAE, size=64))
    save_model(model_folder / "vae.safetensors", other, other.config)
    with pytest.raises(OptionError, match="another config"):
        train_network("l2v", picture_folder, model_folder, config="latent-smoke", steps=1)


def test_latents_without_landmarks_are_refused(picture_folder, model_folder):
    with pytest.raises(OptionError, match="sound in the place of landmarks"):
        l2v.data(Inputs(picture_folder, model_folder, 0, "cpu", L2V["latent-smoke"]), landmarks=False)


def test_without_diffusers_the_extra_is_named(kptalk, picture_folder, model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"kptalk\[latent\]"):
        train_network("vae", picture_folder, model_folder, config="smoke", steps=1)
    argv = ("train", "vae", "--data", picture_folder, "-o", model_folder, "--config", "smoke")
    status, _, err = kptalk(*argv)
    assert status == 1
    assert err.count("\n") == 1
    assert "pip install 'kptalk[latent]'" in err


def test_one_person_is_too_few(picture_clips, model_folder, tmp_path):
    picture_folder = written(picture_clips[1:], tmp_path / "one")
    with pytest.raises(DatasetError, match="two people"):
        train_network("l2v", picture_folder, model_folder, config="smoke")


def test_the_space_must_be_there(picture_folder, tmp_path):
    for name in ("vae", "l2v"):
        with pytest.raises(WeightsError, match=f"{name} needs facemesh.safetensors"):
            train_network(name, picture_folder, tmp_path / "empty", config="smoke")


def test_losses_weigh_what_is_looked_at():
    maps = torch.zeros(1, 1, 5, 128, 128)
    maps[..., 1, 60:70, 50:80] = 1
    maps[..., 0, 63:67, 55:75] = 1
    maps[..., 3, 20:25, 30:50] = 1
    weight = loss_weight(maps)[0, 0, 0]
    assert weight[65, 65] == 8
    assert weight[60, 52] == 4
    assert weight[22, 40] == 3
    assert weight[100, 100] == 1
    error = torch.ones(1, 1, 3, 127, 128)
    assert weighted(error, loss_weight(maps)) == pytest.approx(1, rel=0.02)


def test_measures_of_pictures():
    a, where = torch.zeros(3, 8, 8), torch.ones(8, 8, dtype=torch.bool)
    assert psnr(a, a, where) == pytest.approx(60)
    assert psnr(a, a + 0.2, where) == pytest.approx(20, abs=1e-3)
    assert energy(a, where) == 0
    assert energy(a + torch.arange(8.0), where) == pytest.approx(49)


def test_the_critic_learns_and_is_left_alone_by_what_it_finds_wrong(data):
    model = l2v.build(data).eval()  # its spectral norm is left as it is
    b = batch([(data.sets[0], 0)])
    real = mouth_of(b.real, b.maps)
    assert real.shape == (4, 4, 16, 18)
    drawn = mouth_of(b.warped, b.maps).requires_grad_()
    critic_loss(model.critic, real, drawn, 0.0).backward()
    own = [p.grad.clone() for p in model.critic.parameters()]
    assert not drawn.grad.any()
    model.critic.zero_grad()
    critic_loss(model.critic, real, drawn, 0.5).backward()
    assert drawn.grad.any()
    assert all(torch.allclose(p.grad, before) for p, before in zip(model.critic.parameters(), own, strict=True))
