"""The method of landmark-guided diffusion: speech to landmarks (A2L), landmarks to frames (L2V)."""

import json

import torch

from kptalk.errors import OptionError, WeightsError
from kptalk.methods.base import DiffusionMethod, Method, Precision
from kptalk.methods.facemesh import framing, load_generator, smoothing
from kptalk.motion.facemesh.generator import FaceMeshGenerator, FaceMeshMemory
from kptalk.motion.facemesh.reader import FaceMeshReader, FaceMeshReaderState
from kptalk.motion.facemesh.space import FaceMeshSource
from kptalk.motion.landmark.space import LandmarkSpace
from kptalk.networks.frame_unet import FrameUNet, FrameUNetConfig
from kptalk.options import Options
from kptalk.render.latent.conditions import N_CONDITIONS
from kptalk.render.latent.denoiser import FrameDenoiser, LatentDenoiser, PixelDenoiser
from kptalk.render.latent.latents import AutoencoderConfig, FrameAutoencoder, LatentUNet, LatentUNetConfig
from kptalk.render.latent.renderer import LatentRenderer
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.render.renderer import DrawStateT, PreparedT, Renderer
from kptalk.weights.header import read_header
from kptalk.weights.model import ModelFolder
from kptalk.weights.store import load_model

CPU = torch.device("cpu")


def load(model: ModelFolder, device: torch.device, precision: Precision = "auto") -> Method:
    """Load the networks, which always compute in float32; without those of L2V the mesh renderer draws.

    Raises:
        WeightsError: files are missing or damaged.
        MissingExtra: L2V works in latents, and ``diffusers`` is not installed.
    """
    space = load_space(model)
    generator = load_generator(model, space, "a2l", device)
    if model.optional_file("l2v"):
        return method(generator, load_renderer(model, device))
    return method(generator, MeshRenderer(space))


def method(
    generator: FaceMeshGenerator, renderer: Renderer[FaceMeshSource, PreparedT, DrawStateT]
) -> DiffusionMethod[FaceMeshSource, FaceMeshMemory, FaceMeshReaderState, PreparedT, DrawStateT]:
    """The method around a generator and a renderer."""
    space = generator.space
    reader = FaceMeshReader(space)
    return DiffusionMethod(space, reader, generator, *smoothing(generator), renderer, framing)


def load_renderer(model: ModelFolder, device: torch.device = CPU) -> LatentRenderer:
    """What draws with L2V, with the number of steps and the guidance that its file states.

    Raises:
        WeightsError: files are missing or damaged, or do not fit each other.
        MissingExtra: as for ``load``.
    """
    path = model.file("l2v")
    header = read_header(path)
    try:
        numbers = json.loads(header["sampler"])
        chosen = Options(draw_steps=numbers["steps"], guidance=numbers["guidance"])
    except (KeyError, TypeError, ValueError, OptionError) as error:
        raise WeightsError(f"{path} lacks {error}: train it with this version") from error
    renderer = LatentRenderer(MeshRenderer(load_space(model)), _denoiser(model, header.get("architecture", ""), device))
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


def load_space(model: ModelFolder) -> LandmarkSpace:
    """The motion space, without the networks.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return LandmarkSpace.load(model.file("facemesh"))


def load_reader(model: ModelFolder, device: torch.device) -> FaceMeshReader:
    """What reads videos, without the networks.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return FaceMeshReader(load_space(model))
