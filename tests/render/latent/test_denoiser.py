"""Sampling of frames, in pixels and in latents of diffusers' networks."""

import sys

import numpy as np
import pytest
import torch
from drawing import SMALL_LATENT, SMALL_VAE, latent_denoiser, pixel_denoiser, small_unet

from kptalk.errors import MissingExtra
from kptalk.networks.noise_schedule import N_STEPS, add_noise
from kptalk.render.latent.conditions import conditions, without_mouth
from kptalk.render.latent.denoiser import Window
from kptalk.render.latent.latents import AutoencoderConfig, FrameAutoencoder, LatentUNet, LatentUNetConfig
from kptalk.render.latent.sampler import ddim, timesteps

DENOISERS = {"pixels": pixel_denoiser, "latents": latent_denoiser}


def window(frames=3, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, size, size, generator=generator)

    return Window(2 * random(1, frames, 3) - 1, random(1, frames, 5), 2 * random(1, 3) - 1, random(1, 5))


@pytest.fixture(scope="module", params=DENOISERS)
def denoiser(request):
    return DENOISERS[request.param]()


def noise_of(denoiser, seed=0):
    return torch.randn(1, 1, *denoiser.noise_shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_frames_are_pictures_and_the_noise_decides(denoiser):
    frames = denoiser.draw(window(), noise_of(denoiser), 2, 1.0)
    assert (frames.shape, frames.dtype) == ((1, 3, 3, 32, 32), torch.float32)
    assert frames.min() >= -1
    assert frames.max() <= 1
    assert torch.equal(frames, denoiser.draw(window(), noise_of(denoiser), 2, 1.0))
    assert not torch.equal(frames, denoiser.draw(window(), noise_of(denoiser, 1), 2, 1.0))


@torch.inference_mode()
@pytest.mark.parametrize("part", ["warped", "maps", "reference", "reference_maps"])
def test_every_condition_counts(denoiser, part):
    known = window()
    changed = known._replace(**{part: getattr(window(seed=1), part)})
    drawn = (denoiser.draw(each, noise_of(denoiser), 1, 1.0) for each in (known, changed))
    assert not torch.equal(*drawn)


@torch.inference_mode()
def test_guidance_weighs_the_landmarks(denoiser):
    known, noise = window(), noise_of(denoiser)
    blind = known._replace(maps=torch.zeros_like(known.maps))
    assert not torch.equal(denoiser.draw(known, noise, 1, 1.0), denoiser.draw(known, noise, 1, 2.0))
    assert torch.allclose(denoiser.draw(blind, noise, 1, 1.0), denoiser.draw(blind, noise, 1, 5.0), atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("temporal", [True, False])
def test_frames_look_at_their_neighbours_where_there_are_layers_for_it(temporal):
    for drawing in (latent_denoiser(temporal=temporal), None):
        known = window()
        other = known._replace(warped=torch.cat([known.warped[:, :2], -known.warped[:, 2:]], 1))
        if drawing:
            a, b = (drawing.draw(each, noise_of(drawing), 1, 1.0) for each in (known, other))
        else:
            network = small_unet(temporal=temporal)
            x, t = torch.zeros(1, 3, 3, 32, 32), torch.tensor([500])
            a, b = (network(x, t, conditions(e.warped, e.maps, e.reference, e.reference_maps)) for e in (known, other))
        assert torch.allclose(a[:, 1], b[:, 1], atol=1e-5) is not temporal


@torch.inference_mode()
def test_without_the_warped_photo_it_does_not_count():
    denoiser, known = latent_denoiser(warp=False), window()
    other = known._replace(warped=-known.warped)
    assert torch.equal(*(denoiser.draw(each, noise_of(denoiser), 1, 1.0) for each in (known, other)))


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
@pytest.mark.parametrize("t", [0, 500, 999])
def test_what_is_predicted_stands_for_the_clean_latents(prediction, t):
    network = LatentUNet(LatentUNetConfig(**{**vars(SMALL_LATENT), "prediction": prediction}))
    clean, noise, t = torch.randn(1, 2, 4, 16, 16), torch.randn(1, 2, 4, 16, 16), torch.tensor([t])
    x = add_noise(clean, noise, t)
    predicted = network.towards(clean, x, t)
    assert torch.allclose(network.clean(x, t, predicted), clean, atol=1e-3)
    if prediction == "epsilon" and t > 0:
        assert torch.allclose(predicted, noise, atol=1e-3)


def test_sampling_ends_at_what_is_predicted():
    base, wanted = torch.zeros(1, 2, 3, 8, 8), torch.rand(1, 2, 3, 8, 8)
    seen = []

    def predict(x, t):
        seen.append((int(t), x))
        return wanted

    noise = torch.randn(1, 1, 3, 8, 8)
    assert torch.equal(ddim(predict, base, noise, 4), wanted)
    assert [t for t, _ in seen] == [999, 749, 499, 249]
    last = torch.tensor([N_STEPS - 1])
    assert torch.equal(seen[0][1], add_noise(base, noise.expand_as(base), last))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 999, 1000])
def test_sampling_begins_at_the_noisiest_step(steps):
    chosen = list(timesteps(steps))
    assert (chosen[0], len(chosen)) == (999, steps)
    assert min(chosen) >= 0


def test_what_is_between_the_lips_is_painted_over():
    warped, lips = torch.zeros(1, 1, 3, 32, 32), torch.zeros(1, 1, 1, 32, 32)
    lips[..., 12:20, 8:24] = 1
    warped[lips.expand_as(warped) > 0] = 1
    painted = without_mouth(warped, lips)
    assert painted[..., 13:19, 9:23].max() < 0.2
    outside = lips.clone()
    outside[..., 10:22, 6:26] = 1
    assert torch.equal(painted[outside.expand_as(painted) == 0], warped[outside.expand_as(painted) == 0])


def test_latents_are_scaled():
    autoencoder, pictures = FrameAutoencoder(SMALL_VAE).eval(), 2 * torch.rand(1, 3, 32, 32) - 1
    with torch.inference_mode():
        plain, back = autoencoder.encode(pictures), autoencoder.decode(autoencoder.encode(pictures))
        autoencoder.scale.fill_(3.0)
        assert torch.allclose(autoencoder.encode(pictures), 3 * plain)
        assert torch.allclose(autoencoder.decode(autoencoder.encode(pictures)), back, atol=1e-5)
    assert back.shape == pictures.shape


WRONG = [{"prediction": "x"}, {"size": 33}, {"size": 36}, {"widths": (8, 16, 16, 16, 16, 16)}]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_numbers_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match=r"prediction|divide"):
        LatentUNetConfig(**{**vars(SMALL_LATENT), **wrong})


def test_networks_of_different_sizes_do_not_fit():
    assert SMALL_LATENT.fits(SMALL_VAE)
    assert not SMALL_LATENT.fits(AutoencoderConfig())
    assert LatentUNetConfig().fits(AutoencoderConfig())


def test_without_diffusers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for kind, config in ((LatentUNet, SMALL_LATENT), (FrameAutoencoder, SMALL_VAE)):
        with pytest.raises(MissingExtra, match=r"pip install 'kptalk\[latent\]'"):
            kind(config)


def test_the_noise_has_the_denoisers_shape(denoiser):
    assert np.prod(denoiser.noise_shape) in (3 * 32 * 32, 4 * 16 * 16)
