"""The system of the official weights: KDTalker's motion, LivePortrait's renderer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import nn

from kptalk.audio.windows import Windows
from kptalk.device import side_by_side
from kptalk.face.alignment import AlignedFraming, aligned_crop, aligned_full
from kptalk.face.framing import EDGES
from kptalk.job import Progress
from kptalk.methods.facemesh import speech_mel_mean
from kptalk.motion.control import Control, Controller
from kptalk.motion.facemesh.reader import VideoMotion
from kptalk.motion.facemesh.regions import LivePortraitAnatomy
from kptalk.motion.liveportrait.generator import KDTalkerGenerator
from kptalk.motion.liveportrait.reader import LivePortraitReader
from kptalk.motion.liveportrait.space import FPS, LivePortraitSource, LivePortraitSpace, read_statistics
from kptalk.motion.retarget import LivePortraitRetargeter
from kptalk.networks.appearance import AppearanceExtractor, AppearanceExtractorConfig
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.motion_extractor import MotionExtractor, MotionExtractorConfig
from kptalk.networks.spade import SpadeDecoder, SpadeDecoderConfig
from kptalk.networks.stitching import StitchingNetwork, StitchingNetworkConfig
from kptalk.networks.warping import WarpingNetwork, WarpingNetworkConfig
from kptalk.render.liveportrait.portrait import PortraitRenderer
from kptalk.render.liveportrait.renderer import LivePortraitRenderer, fast_networks
from kptalk.types import Motion, Portrait
from kptalk.weights.registry import official_paths
from kptalk.weights.store import embedded_path, load_model

NEEDED = (
    *("motion_extractor", "appearance_extractor", "warping", "decoder", "stitching", "retargeting_eye"),
    *("audio", "kdtalker", "kdtalker_norm"),
)
ON_A_GPU = 8  # frames drawn together there
Network = TypeVar("Network", bound=nn.Module)


class KDTalkerMethod:
    """See ``System``."""

    draws = "liveportrait"

    def __init__(self, generator: KDTalkerGenerator, renderer: PortraitRenderer) -> None:
        self.generator, self.space, self.renderer = generator, generator.space, renderer
        self.reader, self.retargeter = LivePortraitReader(self.space), LivePortraitRetargeter()

    @classmethod
    def load(cls, device: torch.device) -> KDTalkerMethod:
        """Load the converted official weights.

        What tells silence from speech is a mean level of speech; the official weights have none, the embedded do.

        Raises:
            WeightsError: some are not here, all of which the message names, or damaged.
        """
        paths = official_paths(NEEDED)

        def load(name: str, network: type[Network], config: type[Any]) -> Network:
            return load_model(paths[name], network, config).to(device)

        extractor = load("motion_extractor", MotionExtractor, MotionExtractorConfig)
        space = LivePortraitSpace(extractor, read_statistics(paths["kdtalker_norm"]))
        warping = load("warping", WarpingNetwork, WarpingNetworkConfig)
        warp, decode = fast_networks(warping, load("decoder", SpadeDecoder, SpadeDecoderConfig))
        appearance = load("appearance_extractor", AppearanceExtractor, AppearanceExtractorConfig)
        at_once, threads = (ON_A_GPU, 1) if device.type == "cuda" else (1, side_by_side())
        crops = LivePortraitRenderer(space, appearance, warp, decode, at_once, threads)
        stitching, eyes = (
            load(name, StitchingNetwork, StitchingNetworkConfig) for name in ("stitching", "retargeting_eye")
        )
        encoder = load("audio", AudioEncoder, AudioEncoderConfig)
        denoiser = load("kdtalker", Denoiser, DenoiserConfig)
        generator = KDTalkerGenerator(space, encoder, denoiser, speech_mel_mean(embedded_path("audio")))
        return cls(generator, PortraitRenderer(crops, stitching, eyes))

    def stage(self, portrait: Portrait, output: str, size: int | None, stitch: bool | None) -> AlignedFraming:
        """See ``System``: the whole photo is stitched unless the user says no, the square if the user says so."""
        stage = (aligned_crop if output == "crop" else aligned_full)(portrait, size)
        return stage if stitch is None else replace(stage, free=frozenset(() if stitch else EDGES))

    def speak(
        self, source: LivePortraitSource, windows: Iterable[Windows], steps: int | None, seed: int, control: Control
    ) -> Iterator[Motion]:
        """See ``System``; absolute motion, smoothed by Kalman's filter, as in KDTalker."""
        maker, controller = self.generator.with_steps(steps), Controller(LivePortraitAnatomy(source), control)
        drawing, controlling = maker.start(source, seed), controller.start(seed)
        for heard in windows:
            motion, activity, drawing = maker.step(heard, drawing)
            motion, controlling = controller.step(motion, activity, controlling)
            yield motion
        rest, controlling = controller.step(*maker.finish(drawing), controlling)
        yield Motion.concatenate([rest, controller.finish(controlling)])

    def read_pose(self, path: str | PathLike[str], seconds: Fraction | None, progress: Progress | None) -> Motion:
        """See ``System``."""
        wanted = None if seconds is None else max(1, int(-(-seconds * FPS // 1)))
        pieces, known = [], 0
        for piece in VideoMotion(self.reader, path, FPS):
            pieces.append(piece)
            known += len(piece)
            if progress:
                progress("reading the pose", known, wanted)
            if wanted is not None and known >= wanted:
                break
        return Motion.concatenate(pieces)[:wanted]


def load_reader(device: torch.device) -> LivePortraitReader:
    """What reads videos, without the other networks.

    Raises:
        WeightsError: the motion extractor is not here, or damaged.
    """
    path = official_paths(["motion_extractor"])["motion_extractor"]
    extractor = load_model(path, MotionExtractor, MotionExtractorConfig).to(device)
    return LivePortraitReader(LivePortraitSpace(extractor))
