"""L2V's files in a model folder: loaded, or refused in one line that names them; the numbers to draw with."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
import pytest
import torch
from drawing import SMALL, SMALL_LATENT, latent_denoiser, small_unet
from fakes import fake_generator, plain_portrait, random_motion
from mutations import mutated
from safetensors.numpy import load_file, save_file

from kptalk.errors import MotionError, OptionError, WeightsError
from kptalk.methods import facemesh, landmark
from kptalk.methods.landmark import load_space
from kptalk.methods.latent import load_renderer
from kptalk.motion.landmark.space import LandmarkSpace
from kptalk.options import Options, ReenactOptions
from kptalk.pipeline import Pipeline
from kptalk.render.latent.denoiser import LatentDenoiser, PixelDenoiser
from kptalk.render.latent.renderer import LatentRenderer
from kptalk.weights.header import embedded_path, read_header
from kptalk.weights.model import landmark_card, open_model, write_model_json
from kptalk.weights.store import save_model

NUMBERS = {"sampler": '{"steps": 3, "guidance": 1.5}'}


@pytest.fixture
def folder(tmp_path):
    """A model folder of the method without A2L, and with a small L2V of pixels."""
    (tmp_path / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    write_model_json(tmp_path, landmark_card())
    save_model(tmp_path / "l2v.safetensors", small_unet(), SMALL, NUMBERS, half=True)
    return tmp_path


def renderer_of(folder):
    model = open_model(folder)
    return load_renderer(model, load_space(model))


def save_latents(folder, denoiser):
    save_model(folder / "l2v.safetensors", denoiser.network, denoiser.network.config, NUMBERS, half=True)
    save_model(folder / "vae.safetensors", denoiser.autoencoder, denoiser.autoencoder.config, half=True)


def test_the_file_says_how_to_draw(folder):
    renderer = renderer_of(folder)
    assert isinstance(renderer.denoiser, PixelDenoiser)
    assert (renderer.steps, renderer.guidance, renderer.size) == (3, 1.5, 32)
    save_latents(folder, latent_denoiser())
    renderer = renderer_of(folder)
    assert isinstance(renderer.denoiser, LatentDenoiser)
    assert renderer.denoiser.noise_shape == (4, 16, 16)


def test_the_methods_own_motion_is_drawn(folder):
    renderer = renderer_of(folder)
    prepared = renderer.prepare(plain_portrait(renderer.mesh.space, 128))
    still = renderer.source(prepared).motion
    assert still.space == "landmark"
    _, state = renderer.step(still, renderer.start(prepared, 0))
    assert renderer.finish(state).shape == (1, 128, 128, 3)
    with pytest.raises(MotionError):
        renderer.step(random_motion(1), state)


def test_the_method_takes_what_there_is(folder, monkeypatch):
    space = LandmarkSpace.load(folder / "facemesh.safetensors")
    monkeypatch.setattr(landmark, "load_generator", lambda *_: fake_generator(space))
    assert landmark.load(open_model(folder), torch.device("cpu")).renderer.name == "latent"
    (folder / "l2v.safetensors").unlink()
    assert landmark.load(open_model(folder), torch.device("cpu")).renderer.name == "mesh"
    assert open_model(folder).missing() == ["audio", "a2l"]


def test_damaged_files_are_refused_or_draw(folder):
    path, rng = folder / "l2v.safetensors", np.random.default_rng(0)
    whole, refused = path.read_bytes(), []
    for _ in range(60):
        path.write_bytes(mutated(whole, rng))
        try:
            renderer = renderer_of(folder)
        except WeightsError as error:
            refused.append(str(error))
        else:
            assert renderer.size == 32
    assert len(refused) > 5
    assert not any("\n" in reason for reason in refused)


HEADERS = {
    "no sampler": {"sampler": None},
    "no json": {"sampler": "two"},
    "a list": {"sampler": "[2, 1.0]"},
    "no guidance": {"sampler": '{"steps": 2}'},
    "steps below one": {"sampler": '{"steps": 0, "guidance": 1.0}'},
    "steps of nan": {"sampler": '{"steps": NaN, "guidance": 1.0}'},
    "too much guidance": {"sampler": '{"steps": 2, "guidance": 1e9}'},
    "another network": {"architecture": "Denoiser"},
    "no network": {"architecture": None},
    "an odd size": {"config": {"size": 33}},
    "a huge size": {"config": {"size": 4096}},
    "no patch": {"config": {"patch": 0}},
    "no widths": {"config": {"widths": []}},
    "other conditions": {"config": {"conditions": 17}},
    "text": {"config": {"size": "large"}},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_without_sense_are_refused(folder, kind):
    path = folder / "l2v.safetensors"
    header, change = read_header(path), dict(HEADERS[kind])
    if "config" in change:
        change["config"] = json.dumps({**json.loads(header["config"]), **change["config"]})
    save_file(load_file(path), path, {name: text for name, text in {**header, **change}.items() if text is not None})
    with pytest.raises(WeightsError, match=r"l2v\.safetensors") as caught:
        renderer_of(folder)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_not_finite_are_refused(folder):
    path = folder / "l2v.safetensors"
    content = bytearray(path.read_bytes())
    content[-200:] = struct.pack("<e", float("inf")) * 100
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not finite"):
        renderer_of(folder)


def test_latents_need_their_autoencoder(folder):
    save_latents(folder, latent_denoiser())
    other = latent_denoiser(size=64)
    save_model(folder / "l2v.safetensors", other.network, other.network.config, NUMBERS)
    with pytest.raises(WeightsError, match="do not belong together"):
        renderer_of(folder)
    (folder / "vae.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match=r"vae\.safetensors"):
        renderer_of(folder)
    (folder / "vae.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"missing weights: .*vae\.safetensors"):
        renderer_of(folder)
    assert SMALL_LATENT.size == 32


@pytest.mark.parametrize("given", [{"draw_steps": 2}, {"guidance": 1.0}, {"draw_steps": 4, "guidance": 0}], ids=str)
def test_other_renderers_refuse_numbers_to_draw_with(pipeline, portrait, given):
    name = next(iter(given))
    for options in (Options(**given), ReenactOptions(**given)):
        framing = pipeline.method.framing(portrait, "full", None, None)
        with pytest.raises(OptionError, match=f"{name} belongs to refined frames: the renderer") as caught:
            pipeline.method.session(framing, options)
        assert "\n" not in str(caught.value)


def test_options_reach_the_renderer(folder, portrait):
    renderer = renderer_of(folder)
    method = facemesh.method(fake_generator(renderer.mesh.space), renderer)
    framing = method.framing(portrait, "full", None, None)
    for options, expected in (
        (Options(draw_steps=7), (7, 1.5)),
        (Options(guidance="0.5"), (3, 0.5)),
        (ReenactOptions(draw_steps="2", guidance=2), (2, 2.0)),
        (None, (3, 1.5)),
    ):
        used = method.session(framing, options).method.renderer
        assert isinstance(used, LatentRenderer)
        assert (used.steps, used.guidance) == expected


def test_frames_are_refined_where_asked_for(portrait):
    pipeline = Pipeline.from_pretrained("embedded")
    framing = pipeline.method.framing(portrait, "full", None, None)
    assert not isinstance(pipeline.method.session(framing, Options()).method.renderer, LatentRenderer)
    refined = pipeline.method.session(framing, Options(refine=True, draw_steps=2)).method.renderer
    assert isinstance(refined, LatentRenderer)
    assert refined.steps == 2
    assert refined.mesh.space is pipeline.method.space
    again = pipeline.method.session(framing, ReenactOptions(refine=True)).method.renderer
    assert again.denoiser is refined.denoiser  # loaded once


def test_refining_may_be_left_out(folder, space):
    for name in ("audio", "lips", "head"):
        (folder / f"{name}.safetensors").write_bytes(embedded_path(name).read_bytes())
    shutil.copy(embedded_path("facemesh").parent / "landmark" / "a2l.safetensors", folder)
    method = landmark.load(open_model(folder), torch.device("cpu"))
    framing = method.framing(plain_portrait(space, 128), "full", None, None)
    assert isinstance(method.session(framing, Options()).method.renderer, LatentRenderer)
    assert method.session(framing, Options(refine=False)).method.renderer.name == "mesh"
    (folder / "l2v.safetensors").unlink()
    plain = landmark.load(open_model(folder), torch.device("cpu"))
    for refine in (True, False):
        with pytest.raises(OptionError, match="refine needs a model with l2v"):
            plain.session(framing, Options(refine=refine))


def test_a_job_holds_the_numbers_to_draw_with():
    job = Options(draw_steps="4", guidance=2)
    assert job.to_dict() == {"draw_steps": 4, "guidance": 2.0}
    assert Options.from_dict(json.loads(json.dumps(job.to_dict()))) == job
