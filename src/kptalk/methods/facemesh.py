"""The method of the embedded model and of those that ``kptalk train`` makes: learned control points, mesh renderer."""

import json
from functools import cache

import torch

from kptalk.errors import OptionError, WeightsError
from kptalk.face.framing import Framing, crop_framing, full_framing
from kptalk.methods.base import DiffusionMethod, Method, Precision, Refinable
from kptalk.motion.facemesh.generator import FaceMeshGenerator, FaceMeshMemory, SamplerConfig
from kptalk.motion.facemesh.reader import FaceMeshReader, FaceMeshReaderState
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace
from kptalk.motion.filters import gaussian
from kptalk.motion.filters.buffer import Smooth
from kptalk.motion.head import HeadModel
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.lip_ensemble import LipEnsemble, LipEnsembleConfig
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.render.renderer import DrawStateT, PreparedT, Renderer
from kptalk.types import Portrait
from kptalk.weights.header import read_header
from kptalk.weights.model import ModelFolder, speech_mel_mean
from kptalk.weights.store import load_model


def load(model: ModelFolder, device: torch.device, precision: Precision = "auto") -> Method:
    """Load the networks, which always compute in float32; the lip ensemble and L2V need not be there.

    Raises:
        WeightsError: files are missing or damaged.
    """
    return refinable(load_generator(model, load_space(model), "motion", device), model, device, refine=False)


def refinable(generator: FaceMeshGenerator, model: ModelFolder, device: torch.device, refine: bool) -> Method:
    """The method around a generator; where the model has L2V, its frames may be refined, and are if ``refine`` says so.

    Raises:
        WeightsError: files are missing or damaged.
        MissingExtra: L2V works in latents, and ``diffusers`` is not installed.
    """
    if model.optional_file("l2v") is None:
        return method(generator, MeshRenderer(generator.space))

    @cache
    def drawing(refine: bool) -> Method:
        if not refine:
            return method(generator, MeshRenderer(generator.space), drawing)
        from kptalk.methods.latent import load_renderer  # loaded only where it draws

        return method(generator, load_renderer(model, generator.space, device), drawing)

    return drawing(refine)


def load_generator(model: ModelFolder, space: FaceMeshSpace, name: str, device: torch.device) -> FaceMeshGenerator:
    """The generator of a space; ``name`` is its denoiser's among the model's files.

    Raises:
        WeightsError: files are missing or damaged.
    """
    audio, motion, lips = model.file("audio"), model.file(name), model.optional_file("lips")
    encoder = load_model(audio, AudioEncoder, AudioEncoderConfig).to(device)
    denoiser = load_model(motion, Denoiser, DenoiserConfig).to(device)
    try:
        config = SamplerConfig(**json.loads(read_header(motion)["sampler"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{motion} lacks {error}: train it with this version") from error
    ensemble = load_model(lips, LipEnsemble, LipEnsembleConfig).to(device) if lips else None
    head = HeadModel.load(model.file("head")) if model.card.head == "process" else None
    return FaceMeshGenerator(space, encoder, denoiser, speech_mel_mean(audio), config, ensemble, head)


def method(
    generator: FaceMeshGenerator,
    renderer: Renderer[FaceMeshSource, PreparedT, DrawStateT],
    refined: Refinable | None = None,
) -> DiffusionMethod[FaceMeshSource, FaceMeshMemory, FaceMeshReaderState, PreparedT, DrawStateT]:
    """The method around a generator and a renderer."""
    space = generator.space
    reader = FaceMeshReader(space)
    return DiffusionMethod(space, reader, generator, *smoothing(generator), renderer, framing, refined)


def smoothing(generator: FaceMeshGenerator) -> tuple[Smooth, int, int]:
    """The filter of generated motion, its radius, and that of live motion: a head that is a process needs no filter."""
    if generator.head:
        return gaussian.smooth_expression, gaussian.RADIUS, gaussian.EXPRESSION_RADIUS
    return gaussian.smooth, gaussian.RADIUS, gaussian.RADIUS


def load_space(model: ModelFolder) -> FaceMeshSpace:
    """The motion space, without the networks.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return FaceMeshSpace.load(model.file("facemesh"))


def load_reader(model: ModelFolder, device: torch.device) -> FaceMeshReader:
    """What reads videos, without the networks.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return FaceMeshReader(load_space(model))


def framing(portrait: Portrait, shown: str, size: int | None, stitch: bool | None) -> Framing:
    """See ``Method.framing``."""
    if stitch is not None:
        raise OptionError("stitching belongs to the renderer liveportrait: the mesh renderer has no use for it")
    return (crop_framing if shown == "crop" else full_framing)(portrait, size)
