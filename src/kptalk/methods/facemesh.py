"""The system of embedded weights and of those that ``kptalk train`` makes: learned control points, mesh renderer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from kptalk.audio.windows import Windows
from kptalk.errors import OptionError, WeightsError
from kptalk.face.framing import Stage, crop_framing, full_framing
from kptalk.job import Progress, Renderer
from kptalk.motion.control import Control, Controller
from kptalk.motion.facemesh import generator as generate
from kptalk.motion.facemesh.reader import FaceMeshReader, pose_of_video
from kptalk.motion.facemesh.regions import FaceMeshAnatomy
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace
from kptalk.motion.filters import gaussian as smoothing
from kptalk.motion.retarget import FaceMeshRetargeter
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.lip_ensemble import LipEnsemble, LipEnsembleConfig
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.types import Motion, Portrait
from kptalk.weights.store import embedded_path, load_model, read_header


class FaceMeshMethod:
    """See ``System``."""

    draws = "mesh"

    def __init__(self, generator: generate.FaceMeshGenerator, renderer: Renderer | None = None) -> None:
        self.generator, self.space = generator, generator.space
        self.renderer = renderer or MeshRenderer(self.space)
        self.reader, self.retargeter = FaceMeshReader(self.space), FaceMeshRetargeter(self.space)

    @classmethod
    def load(cls, weights: str | PathLike[str], device: torch.device) -> FaceMeshMethod:
        """Load ``embedded`` weights, or those in a folder.

        Raises:
            WeightsError: they are missing or damaged.
        """
        paths = {name: weights_file(weights, name) for name in ("audio", "motion")}
        space = load_space(weights)
        encoder = load_model(paths["audio"], AudioEncoder, AudioEncoderConfig).to(device)
        denoiser = load_model(paths["motion"], Denoiser, DenoiserConfig).to(device)
        try:
            config = generate.SamplerConfig(**json.loads(read_header(paths["motion"])["sampler"]))
            prior = speech_mel_mean(paths["audio"])
        except (KeyError, TypeError, ValueError) as error:
            folder = paths["audio"].parent
            raise WeightsError(f"weights in {folder} lack {error}: train them with this version") from error
        path = paths["motion"].with_name("lips.safetensors")  # which need not be there
        lips = load_model(path, LipEnsemble, LipEnsembleConfig).to(device) if path.is_file() else None
        return cls(generate.FaceMeshGenerator(space, encoder, denoiser, prior, config, lips))

    def stage(self, portrait: Portrait, output: str, size: int | None, stitch: bool | None) -> Stage:
        """See ``System``."""
        if stitch is not None:
            raise OptionError("stitching belongs to the renderer liveportrait: leave out --stitch and --no-stitch")
        return (crop_framing if output == "crop" else full_framing)(portrait, size)

    def speak(
        self, source: FaceMeshSource, windows: Iterable[Windows], steps: int | None, seed: int, control: Control
    ) -> Iterator[Motion]:
        """See ``System``."""
        maker, controller = self.generator.with_steps(steps), Controller(FaceMeshAnatomy(self.space, source), control)
        drawing, controlling, calming = maker.start(source, seed), controller.start(seed), smoothing.start()
        for heard in windows:
            motion, activity, drawing = maker.step(heard, drawing)
            motion, activity, calming = smoothing.step(motion, activity, calming)
            motion, controlling = controller.step(motion, activity, controlling)
            yield motion
        rest, activity = smoothing.finish(*maker.finish(drawing), calming)
        rest, controlling = controller.step(rest, activity, controlling)
        yield Motion.concatenate([rest, controller.finish(controlling)])

    def read_pose(self, path: str | PathLike[str], seconds: Fraction | None, progress: Progress | None) -> Motion:
        """See ``System``."""
        return pose_of_video(self.space, path, seconds, progress and partial(progress, "reading the pose"))


def load_space(weights: str | PathLike[str] = "embedded") -> FaceMeshSpace:
    """The motion space of weights, without their networks.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    return FaceMeshSpace.load(weights_file(weights, "facemesh"))


def load_reader(weights: str | PathLike[str]) -> FaceMeshReader:
    """What reads videos, without the networks.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    return FaceMeshReader(load_space(weights))


def speech_mel_mean(audio: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """(80,) mean mel level of speech, from the header of trained audio weights; against it silence is told.

    Raises:
        KeyError, ValueError: the header has none.
    """
    return np.array(json.loads(read_header(audio)["speech_mel_mean"]), np.float32)


def weights_file(weights: str | PathLike[str], name: str) -> Path:
    """The file of one network, of the ``embedded`` weights or of a folder.

    Raises:
        WeightsError: it is not there.
    """
    if str(weights) == "embedded":
        return embedded_path(name)
    path = Path(weights) / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(
            f"no {name}.safetensors in {weights}: give 'embedded', 'official' or a folder that kptalk train filled"
        )
    return path
