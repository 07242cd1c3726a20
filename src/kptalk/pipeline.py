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
from os import PathLike
from pathlib import Path

import numpy as np

from kptalk.audio import windows as audio_windows
from kptalk.audio.mel import SAMPLE_RATE
from kptalk.device import pick_device, set_threads
from kptalk.errors import AudioError, ImageError, MotionError, OptionError
from kptalk.face.find import find_portrait
from kptalk.job import MOTION_SUFFIX, Animation, Progress, Work
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.media.image import read_image
from kptalk.methods import facemesh
from kptalk.methods import kdtalker as liveportrait
from kptalk.methods.base import System
from kptalk.methods.facemesh import FaceMeshMethod
from kptalk.methods.kdtalker import KDTalkerMethod
from kptalk.motion.control import Control
from kptalk.motion.facemesh import generator as generate
from kptalk.motion.facemesh.reader import MotionReader, VideoMotion
from kptalk.motion.filters import resample
from kptalk.motion.retarget import RetargetOptions, retarget
from kptalk.types import Image, Motion, Portrait, SourceMotion
from kptalk.version import __version__

DEFAULT_FPS = Fraction(25)
OFFICIAL = "official"
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
        stitch: whether LivePortrait holds shoulders and edges in place; None for where the whole photo is shown.
    """

    seed: int = 0
    fps: Fraction = DEFAULT_FPS
    size: int | None = None
    output: str = "full"
    steps: int | None = None
    control: Control = field(default_factory=Control)
    stitch: bool | None = None

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
        stitch: as in ``Options``.
    """

    drive: RetargetOptions = field(default_factory=RetargetOptions)
    fps: Fraction | None = None
    size: int | None = None
    output: str = "full"
    stitch: bool | None = None

    def __post_init__(self) -> None:
        _check_picture(self.size, self.output)
        if self.fps is not None:
            object.__setattr__(self, "fps", _checked_fps(self.fps))


class Pipeline:
    """The models, loaded once; makes any number of videos."""

    def __init__(self, system: System, name: str) -> None:
        self.system, self.renderer, self.space, self.name = system, system.renderer, system.space, name

    @classmethod
    def from_pretrained(
        cls, weights: str | PathLike[str] = "embedded", device: str = "auto", renderer: str | None = None
    ) -> Pipeline:
        """Load the models.

        Args:
            weights: ``embedded``, ``official``, or a folder that ``kptalk train`` filled.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            renderer: ``mesh`` or ``liveportrait``; None for the one that draws these weights' motion.

        Raises:
            WeightsError: weights are missing or damaged.
            OptionError: no such device, or the renderer cannot draw the motion of these weights.
        """
        set_threads()
        where = pick_device(device)
        kind = KDTalkerMethod if str(weights) == OFFICIAL else FaceMeshMethod
        if renderer not in (None, kind.draws):
            raise OptionError(
                f"renderer is {renderer!r}, but motion of {weights} weights is drawn by {kind.draws!r} only"
            )
        if kind is KDTalkerMethod:
            return cls(KDTalkerMethod.load(where), str(weights))
        return cls(FaceMeshMethod.load(weights, where), str(weights))

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
        stage = self.system.stage(_portrait(portrait, face), options.output, options.size, options.stitch)
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
        stage = self.system.stage(_portrait(portrait, face), options.output, options.size, options.stitch)
        sound = None if speech is None else _sound(speech)
        pieces: Iterable[Motion]
        expected: int | None
        if isinstance(driver, Motion):
            self._check_space(driver, "this")
            whole = resample.whole(driver, options.fps or driver.fps)
            pieces, fps, expected = [whole], whole.fps, len(whole)
        else:
            pieces = video = VideoMotion(self.system.reader, driver, options.fps)
            fps, expected = video.fps, video.frames_hint
            sound = sound or sound_of_video(driver)
        retargeter, drive = self.system.retargeter, options.drive
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
            return self.system.read_pose(path, seconds, progress)
        motion = Motion.load(path)
        self._check_space(motion, path)
        return motion

    def stream(
        self, portrait: PortraitLike, speech: SpeechLike, *, face: int | None = None, options: Options | None = None
    ) -> Iterator[Image]:
        """Single video frames (H, W, 3) uint8 RGB as soon as they are drawn; arguments as ``animate``."""
        for piece in self.animate(portrait, speech, face=face, options=options).frames():
            yield from piece

    def motion(self, source: SourceMotion, speech: Speech, options: Options) -> Iterator[Motion]:
        """Motion for a source and a speech at the video's frame rate, in pieces.

        Raises:
            AudioError: the speech is shorter than one frame.
        """
        hearing = _Hearing(speech, options.fps)
        state = resample.start(options.fps)
        for motion in self.system.speak(source, hearing, options.steps, options.seed, options.control):
            piece, state = resample.step(motion, state)
            if piece is not None:
                yield piece
        last = resample.finish(state, audio_windows.frame_count(hearing.samples, options.fps))
        if last is not None:
            yield last

    def _check_space(self, motion: Motion, name: object) -> None:
        if motion.space != self.space.id:
            raise MotionError(f"{name} is a motion of the space {motion.space!r}, these weights use {self.space.id!r}")

    def _tags(self, origin: str, **facts: object) -> dict[str, str]:
        """What the file says of itself."""
        common = {"synthetic": True, "kptalk": __version__, "renderer": self.system.draws, "weights": self.name}
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


class _Hearing:
    """Mel windows of a speech at the rate of the motion, as they become known; counts the samples."""

    def __init__(self, speech: Speech, fps: Fraction) -> None:
        self.speech, self.fps, self.samples = speech, fps, 0

    def __iter__(self) -> Iterator[audio_windows.Windows]:
        """Raises AudioError at the end of a speech that is shorter than one frame of the video."""
        state = audio_windows.start(generate.FPS)
        for chunk in self.speech.chunks():
            self.samples += len(chunk)
            windows, state = audio_windows.step(chunk, state)
            yield windows
        if self.samples * self.fps < SAMPLE_RATE:
            name, seconds = self.speech.name, self.samples / SAMPLE_RATE
            raise AudioError(f"{name} lasts {seconds:.3f} s, less than one frame at {float(self.fps):g} fps")
        yield audio_windows.finish(state)


def load_reader(weights: str | PathLike[str] = "embedded", device: str = "auto") -> MotionReader:
    """What takes motion from videos (``VideoMotion``), without the networks that it does not need.

    Raises:
        WeightsError: the weights are missing or damaged.
        OptionError: no such device.
    """
    set_threads()
    if str(weights) == OFFICIAL:
        return liveportrait.load_reader(pick_device(device))
    return facemesh.load_reader(weights)


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


def _portrait(portrait: PortraitLike, face: int | None) -> Portrait:
    if isinstance(portrait, Portrait):
        return portrait
    return find_portrait(_checked(portrait) if isinstance(portrait, np.ndarray) else read_image(portrait), face)


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
