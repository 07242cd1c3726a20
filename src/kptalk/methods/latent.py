"""What draws with L2V: the denoiser of a model folder on top of the mesh renderer."""

import json

import torch

from kptalk.errors import OptionError, WeightsError
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.frame_unet import FrameUNet, FrameUNetConfig
from kptalk.options import Options
from kptalk.render.latent.conditions import N_CONDITIONS
from kptalk.render.latent.denoiser import FrameDenoiser, LatentDenoiser, PixelDenoiser
from kptalk.render.latent.latents import AutoencoderConfig, FrameAutoencoder, LatentUNet, LatentUNetConfig
from kptalk.render.latent.renderer import LatentRenderer
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.weights.header import read_header
from kptalk.weights.model import ModelFolder
from kptalk.weights.store import load_model

CPU = torch.device("cpu")


def load_renderer(model: ModelFolder, space: FaceMeshSpace, device: torch.device = CPU) -> LatentRenderer:
    """The renderer of a space, with the number of steps and the guidance that the file states.

    Raises:
        WeightsError: files are missing or damaged, or do not fit each other.
        MissingExtra: as for ``load``.
    """
    path = model.file("l2v")
    header = read_header(path)
    try:
        numbers = json.loads(header["sampler"])
        chosen = Options(draw_steps=numbers["steps"], guidance=numbers["guidance"])
    except (KeyError, TypeError, ValueError, RecursionError, OptionError) as error:
        raise WeightsError(f"{path} lacks {error}: train it with this version") from error
    renderer = LatentRenderer(MeshRenderer(space), _denoiser(model, header.get("architecture", ""), device))
    return renderer.with_drawing(chosen.draw_steps, chosen.guidance)


def _denoiser(model: ModelFolder, architecture: str, device: torch.device) -> FrameDenoiser:
    path = model.file("l2v")
    if architecture == LatentUNet.__name__:
        unet, vae = load_model(path, LatentUNet, LatentUNetConfig).to(device), model.file("vae")
        autoencoder = load_model(vae, FrameAutoencoder, AutoencoderConfig).to(device)
        if not unet.config.fits(autoencoder.config):
            raise WeightsError(f"{path} and {vae} do not belong together: their sizes differ")
        return LatentDenoiser(unet, autoencoder)
    network = load_model(path, FrameUNet, FrameUNetConfig).to(device)
    config = network.config
    if (config.conditions, config.channels, config.audio_dim) != (N_CONDITIONS, 3, 0):
        raise WeightsError(f"{path} does not draw from landmarks: train it with this version")
    return PixelDenoiser(network)
