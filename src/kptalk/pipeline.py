"""The whole system on one screen: a portrait and a speech, or a driving video, to a talking video.

    portrait ─ media ─ face ──────────────┐ source motion
    speech ─── media ─ audio windows ─────┤
                                          ├─ generate ─ control ─ resample ─┐
                                          ├─ retarget ──────────────────────┴─ draw ─ into the photo ─ video
    driving video ─ media ─ face ─ motion ┘

Every stage is a stream, so memory does not grow with the length of the video.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from kptalk.animation import MOTION_SUFFIX, Animation, Progress, Renderer, Work
from kptalk.audio import windows as audio_windows
from kptalk.audio.encoder import AudioEncoder, AudioEncoderConfig
from kptalk.audio.mel import SAMPLE_RATE
from kptalk.device import pick_device, set_threads
from kptalk.errors import AudioError, ImageError, MotionError, OptionError, WeightsError
from kptalk.face.crop import Stage, crop_stage, full_stage
from kptalk.face.find import find_portrait
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.media.image import read_image
from kptalk.motion import generate, resample, smoothing
from kptalk.motion.control import Control, Controller
from kptalk.motion.denoiser import Denoiser, DenoiserConfig
from kptalk.motion.extract import FaceMeshReader, VideoMotion, pose_of_video
from kptalk.motion.facemesh import FaceMeshSource, FaceMeshSpace
from kptalk.motion.lips import LipNet, LipNetConfig
from kptalk.motion.retarget import Drive, FaceMeshRetargeter, retarget
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.types import Image, Motion, Portrait
from kptalk.version import __version__
from kptalk.weights.store import embedded_path, load_model, read_header

DEFAULT_FPS = Fraction(25)
FINEST_FPS = 1001  # largest denominator of a frame rate: that of 30000/1001; FFmpeg's rationals have 32 bits
PortraitLike = str | PathLike[str] | Image | Portrait
SpeechLike = str | PathLike[str] | Speech


@dataclass(frozen=True)
class Options:
    """How one video is made.

    Attributes:
        seed: fixes the motion; the same seed gives the same bytes on one machine.
        fps: frames a second of the video; any number, kept as the nearest fraction that containers can hold.
        size: longest side of the video in pixels; None for the photo's own (at most 1280), or 512 with ``crop``.
        output: ``full`` for the whole photo, ``crop`` for the square around the face.
        steps: denoising steps; None for what suits the weights.
        control: pose, mouth, expression, blinks.
    """

    seed: int = 0
    fps: Fraction = DEFAULT_FPS
    size: int | None = None
    output: str = "full"
    steps: int | None = None
    control: Control = field(default_factory=Control)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", _checked_fps(self.fps))
        object.__setattr__(self, "seed", int(self.seed))  # NumPy's integers are none for JSON
        _check_picture(self.size, self.output)
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise OptionError(f"steps is {self.steps}: give 1 to 1000")
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"seed is {self.seed}: give a number from 0 on")


@dataclass(frozen=True)
class ReenactOptions:
    """How a portrait is driven by another motion.

    Attributes:
        drive: what of the motion is taken over, and whether relative or absolute.
        fps: frames a second of the video; None for those of the driver.
        size: as in ``Options``.
        output: as in ``Options``.
    """

    drive: Drive = field(default_factory=Drive)
    fps: Fraction | None = None
    size: int | None = None
    output: str = "full"

    def __post_init__(self) -> None:
        _check_picture(self.size, self.output)
        if self.fps is not None:
            object.__setattr__(self, "fps", _checked_fps(self.fps))


class Pipeline:
    """The models, loaded once; makes any number of videos."""

    def __init__(self, generator: generate.MotionGenerator, renderer: Renderer, name: str) -> None:
        self.generator, self.renderer, self.space, self.name = generator, renderer, generator.space, name

    @classmethod
    def from_pretrained(cls, weights: str | PathLike[str] = "embedded", device: str = "auto") -> Pipeline:
        """Load the models.

        Args:
            weights: ``embedded``, or a folder that ``kptalk train`` filled.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

        Raises:
            WeightsError: weights are missing or damaged.
            OptionError: no such device.
        """
        set_threads()
        where = pick_device(device)
        paths = {name: _weights_file(weights, name) for name in ("audio", "motion")}
        space = load_space(weights)
        encoder = load_model(paths["audio"], AudioEncoder, AudioEncoderConfig).to(where)
        denoiser = load_model(paths["motion"], Denoiser, DenoiserConfig).to(where)
        try:
            prior = np.array(json.loads(read_header(paths["audio"])["speech_prior"]), np.float32)
            config = generate.SamplerConfig(**json.loads(read_header(paths["motion"])["sampler"]))
        except (KeyError, TypeError, ValueError) as error:
            folder = paths["audio"].parent
            raise WeightsError(f"weights in {folder} lack {error}: train them with this version") from error
        lips = load_model(path, LipNet, LipNetConfig).to(where) if (path := _lips_file(weights)) else None
        generator = generate.MotionGenerator(space, encoder, denoiser, prior, config, lips)
        return cls(generator, MeshRenderer(space), str(weights))

    def animate(
        self, portrait: PortraitLike, speech: SpeechLike, *, face: int | None = None, options: Options | None = None
    ) -> Animation:
        """Let a portrait speak.

        Args:
            portrait: an image file, an (H, W, 3) uint8 RGB array, or a ``Portrait`` that was found before.
            speech: a sound or video file, or a ``Speech``.
            face: which of several faces, 1 is the leftmost; None for the largest.
            options: how.

        Raises:
            ImageError, FaceError, AudioError, OptionError: what was given cannot be used.
        """
        options = options or Options()
        sound = _sound(speech)
        stage = _stage(portrait, face, options.size, options.output)
        seconds, fps = sound.duration_hint, options.fps
        expected = None if seconds is None else max(1, round(seconds * fps))
        tags = self._tags("one photo and a recording", method="keypoint", seed=options.seed)
        work = Work(lambda state: self.motion(state.source, sound, options), fps, sound, expected, tags)
        return Animation(self.renderer, stage, work)

    def reenact(
        self,
        portrait: PortraitLike,
        driver: str | PathLike[str] | Motion,
        speech: SpeechLike | None = None,
        *,
        face: int | None = None,
        options: ReenactOptions | None = None,
    ) -> Animation:
        """Let a portrait move as the person in a video does.

        Args:
            portrait: as in ``animate``.
            driver: a video file, or a motion.
            speech: the sound; None for the driving video's own, if it has any.
            face: which of several faces of the portrait, 1 is the leftmost; None for the largest.
            options: how.

        Raises:
            ImageError, FaceError, AudioError, OptionError, InputError: what was given cannot be used. That the video
                shows no face is found out when the animation is read.
            MotionError: the motion is of another motion space.
        """
        options = options or ReenactOptions()
        stage = _stage(portrait, face, options.size, options.output)
        sound = None if speech is None else _sound(speech)
        pieces: Iterable[Motion]
        expected: int | None
        if isinstance(driver, Motion):
            self._check_space(driver, "this")
            whole = resample.whole(driver, options.fps or driver.fps)
            pieces, fps, expected = [whole], whole.fps, len(whole)
        else:
            pieces = video = VideoMotion(FaceMeshReader(self.space), driver, options.fps)
            fps, expected = video.fps, video.frames_hint
            sound = sound or sound_of_video(driver)
        retargeter, drive = FaceMeshRetargeter(self.space), options.drive
        tags = self._tags("one photo and a motion", method="reenact", mode=drive.mode, region=drive.region)
        work = Work(lambda state: retarget(pieces, state.source.motion, retargeter, drive), fps, sound, expected, tags)
        return Animation(self.renderer, stage, work)

    def read_pose(
        self, path: str | PathLike[str], seconds: Fraction | None = None, progress: Progress | None = None
    ) -> Motion:
        """A motion whose pose may drive ``Control.pose``: from a motion file (.safetensors), or from a video.

        Args:
            path: the file.
            seconds: of a video, no more is looked at; None for all of it.
            progress: told of the frames looked at.

        Raises:
            MotionError: the motion file is unreadable or of another motion space.
            InputError: the video cannot be read, or has no face.
        """
        if Path(path).suffix.lower() != MOTION_SUFFIX:
            return pose_of_video(self.space, path, seconds, progress and partial(progress, "reading the pose"))
        motion = Motion.load(path)
        self._check_space(motion, path)
        return motion

    def stream(
        self, portrait: PortraitLike, speech: SpeechLike, *, face: int | None = None, options: Options | None = None
    ) -> Iterator[Image]:
        """Single video frames (H, W, 3) uint8 RGB as soon as they are drawn; arguments as ``animate``."""
        for piece in self.animate(portrait, speech, face=face, options=options).frames():
            yield from piece

    def motion(self, source: FaceMeshSource, speech: Speech, options: Options) -> Iterator[Motion]:
        """Motion for a source and a speech at the video's frame rate, in pieces.

        Raises:
            AudioError: the speech is shorter than one frame.
        """
        maker = self.generator.with_steps(options.steps)
        controller = Controller(self.space, source, options.control)
        hearing = audio_windows.start(generate.FPS)
        drawing, controlling = maker.start(source, options.seed), controller.start(options.seed)
        calming, resampling = smoothing.start(), resample.start(options.fps)
        samples = 0
        for chunk in speech.chunks():
            samples += len(chunk)
            windows, hearing = audio_windows.step(chunk, hearing)
            motion, activity, drawing = maker.step(windows, drawing)
            motion, activity, calming = smoothing.step(motion, activity, calming)
            motion, controlling = controller.step(motion, activity, controlling)
            piece, resampling = resample.step(motion, resampling)
            if piece is not None:
                yield piece
        if samples * options.fps < SAMPLE_RATE:
            seconds = samples / SAMPLE_RATE
            raise AudioError(f"{speech.name} lasts {seconds:.3f} s, less than one frame at {float(options.fps):g} fps")
        motion, activity, drawing = maker.step(audio_windows.finish(hearing), drawing)
        motion, activity, calming = smoothing.step(motion, activity, calming)
        motion, controlling = controller.step(motion, activity, controlling)
        rest, activity = smoothing.finish(*maker.finish(drawing), calming)
        rest, controlling = controller.step(rest, activity, controlling)
        ending = Motion.concatenate([motion, rest, controller.finish(controlling)])
        piece, resampling = resample.step(ending, resampling)
        if piece is not None:
            yield piece
        total = audio_windows.frame_count(samples, options.fps)
        last = resample.finish(resampling, total)
        if last is not None:
            yield last

    def _check_space(self, motion: Motion, name: object) -> None:
        if motion.space != self.space.id:
            raise MotionError(f"{name} is a motion of the space {motion.space!r}, these weights use {self.space.id!r}")

    def _tags(self, origin: str, **facts: object) -> dict[str, str]:
        """What the file says of itself."""
        common = {"synthetic": True, "kptalk": __version__, "renderer": "mesh", "weights": self.name}
        return {
            "title": "Synthetic talking portrait",
            "comment": f"AI-generated: made by kptalk {__version__} from {origin}, not filmed",
            "description": json.dumps(common | facts),
        }


def animate(
    portrait: PortraitLike, speech: SpeechLike, *, face: int | None = None, options: Options | None = None
) -> Animation:
    """Let a portrait speak, with the embedded weights: ``kptalk.animate("face.jpg", "speech.wav").save("out.mp4")``.

    To make several videos, load the models once with ``Pipeline.from_pretrained`` and call its ``animate``.
    """
    return Pipeline.from_pretrained().animate(portrait, speech, face=face, options=options)


def load_space(weights: str | PathLike[str] = "embedded") -> FaceMeshSpace:
    """The motion space of weights, without their networks.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    return FaceMeshSpace.load(_weights_file(weights, "facemesh"))


def sound_of_video(path: str | PathLike[str]) -> Speech | None:
    """The sound of a video; None where it has none. Warns if it has some that cannot be used.

    Raises:
        InputError: the video cannot be read.
    """
    if not probe(path).has_audio:
        return None
    try:
        return Speech.open(path)
    except AudioError as error:
        warnings.warn(f"{error}: the video will be silent", stacklevel=2)
        return None


def _sound(speech: SpeechLike) -> Speech:
    return speech if isinstance(speech, Speech) else Speech.open(speech)


def _stage(portrait: PortraitLike, face: int | None, size: int | None, output: str) -> Stage:
    """What the video shows, from a portrait in any form."""
    if not isinstance(portrait, Portrait):
        image = _checked(portrait) if isinstance(portrait, np.ndarray) else read_image(portrait)
        portrait = find_portrait(image, face)
    return (crop_stage if output == "crop" else full_stage)(portrait, size)


def _checked_fps(fps: Fraction) -> Fraction:
    if not 1 <= fps <= 120:
        raise OptionError(f"fps is {fps}: give 1 to 120")
    return Fraction(fps).limit_denominator(FINEST_FPS)


def _check_picture(size: int | None, output: str) -> None:
    if size is not None and not 64 <= size <= 4096:
        raise OptionError(f"size is {size}: give 64 to 4096 pixels")
    if output not in ("full", "crop"):
        raise OptionError(f"output is {output!r}: give full or crop")


def _checked(image: Image) -> Image:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f"the portrait is an array {image.dtype} {image.shape}: give (H, W, 3) uint8 RGB")
    return image


def _weights_file(weights: str | PathLike[str], name: str) -> Path:
    if str(weights) == "embedded":
        return embedded_path(name)
    if str(weights) == "official":
        raise WeightsError("the official weights are not supported by this version: use the embedded ones or a folder")
    path = Path(weights) / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(f"no {name}.safetensors in {weights}: give 'embedded' or a folder that kptalk train filled")
    return path


def _lips_file(weights: str | PathLike[str]) -> Path | None:
    """The lip net's weights, which need not be there."""
    path = _weights_file(weights, "motion").with_name("lips.safetensors")
    return path if path.is_file() else None
