"""The method of the official weights: KDTalker's motion, LivePortrait's renderer."""

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from kptalk.device import side_by_side
from kptalk.face.alignment import aligned_crop, aligned_full
from kptalk.face.framing import EDGES, Framing
from kptalk.methods.base import DiffusionMethod, Precision
from kptalk.motion.filters import kalman
from kptalk.motion.liveportrait.generator import KDTalkerGenerator
from kptalk.motion.liveportrait.reader import CropState, LivePortraitReader
from kptalk.motion.liveportrait.space import LivePortraitSource, LivePortraitSpace, read_statistics
from kptalk.networks.appearance import AppearanceExtractor, AppearanceExtractorConfig
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.motion_extractor import MotionExtractor, MotionExtractorConfig
from kptalk.networks.spade import SpadeDecoder, SpadeDecoderConfig
from kptalk.networks.stitching import StitchingNetwork, StitchingNetworkConfig
from kptalk.networks.warping import WarpingNetwork, WarpingNetworkConfig
from kptalk.render.liveportrait.networks import fast_networks
from kptalk.render.liveportrait.renderer import LivePortraitRenderer, PreparedPortrait
from kptalk.types import Array, Portrait
from kptalk.weights.header import embedded_path
from kptalk.weights.model import ModelFolder, speech_mel_mean
from kptalk.weights.store import load_model

GPU_BATCH = 8  # frames drawn together on a GPU
KDTalkerMethod = DiffusionMethod[LivePortraitSource, Array, CropState, PreparedPortrait, PreparedPortrait]
Network = TypeVar("Network", bound=nn.Module)


def load(model: ModelFolder, device: torch.device, precision: Precision = "auto") -> KDTalkerMethod:
    """Load the converted official weights; ``precision`` is as in ``fast_networks``.

    What tells silence from speech is a mean level of speech; the official weights have none, the embedded ones do.

    Raises:
        WeightsError: some are not here, all of which the message names, or damaged.
    """
    model.require_all()

    def network(name: str, model_class: type[Network], config: type[Any]) -> Network:
        return load_model(model.file(name), model_class, config).to(device)

    extractor = network("motion_extractor", MotionExtractor, MotionExtractorConfig)
    space = LivePortraitSpace(extractor, read_statistics(model.file("kdtalker_norm")))
    warping = network("warping", WarpingNetwork, WarpingNetworkConfig)
    warp, decode = fast_networks(warping, network("decoder", SpadeDecoder, SpadeDecoderConfig), precision)
    appearance = network("appearance_extractor", AppearanceExtractor, AppearanceExtractorConfig)
    batch_size, threads = (GPU_BATCH, 1) if device.type == "cuda" else (1, side_by_side())
    stitching = network("stitching", StitchingNetwork, StitchingNetworkConfig)
    eyes = network("retargeting_eye", StitchingNetwork, StitchingNetworkConfig)
    encoder = network("audio", AudioEncoder, AudioEncoderConfig)
    denoiser = network("kdtalker", Denoiser, DenoiserConfig)
    generator = KDTalkerGenerator(space, encoder, denoiser, speech_mel_mean(embedded_path("audio")))
    renderer = LivePortraitRenderer(space, appearance, warp, decode, stitching, eyes, batch_size, threads)
    return method(generator, renderer)


def method(generator: KDTalkerGenerator, renderer: LivePortraitRenderer) -> KDTalkerMethod:
    """The method around a generator and a renderer."""
    reader = LivePortraitReader(generator.space)
    return DiffusionMethod(
        generator.space, reader, generator, kalman.smooth, kalman.RADIUS, kalman.RADIUS, renderer, framing
    )


def load_reader(model: ModelFolder, device: torch.device) -> LivePortraitReader:
    """What reads videos, without the other networks.

    Raises:
        WeightsError: the motion extractor is not here, or damaged.
    """
    extractor = load_model(model.file("motion_extractor"), MotionExtractor, MotionExtractorConfig).to(device)
    return LivePortraitReader(LivePortraitSpace(extractor))


def framing(portrait: Portrait, shown: str, size: int | None, stitch: bool | None) -> Framing:
    """See ``Method.framing``: the whole photo is stitched unless the user says no, the square if the user says so."""
    framed = (aligned_crop if shown == "crop" else aligned_full)(portrait, size)
    return framed if stitch is None else replace(framed, free=frozenset(() if stitch else EDGES))
