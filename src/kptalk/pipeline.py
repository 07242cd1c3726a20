"""The whole system on one screen: a portrait and a speech, or a driving video, to a talking video.

    portrait ─ media ─ face ──────────────┐ source motion
    speech ─── media ─ audio windows ─────┤
                                          ├─ generate ─ smooth ─ control ─ resample ─┐
                                          ├─ retarget ───────────────────────────────┴─ draw ─ into the photo ─ video
    driving video ─ media ─ face ─ motion ┘

The loop behind the upper line is in ``methods/base.py``. Every stage is a stream, so memory does not grow with the
length of the video.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from kptalk.audio.windows import SpeechWindows
from kptalk.device import pick_device
from kptalk.errors import AudioError, MotionError, OptionError
from kptalk.face.find import find_portrait
from kptalk.face.landmarks import FaceMesh
from kptalk.files import MOTION_SUFFIX
from kptalk.job import Animation, Progress, RenderJob
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.media.image import read_image
from kptalk.methods import loaders_of
from kptalk.methods.base import Method, Precision, Session
from kptalk.methods.trial import hum, plain_portrait
from kptalk.motion.filters.resample import resample
from kptalk.motion.generator import FPS
from kptalk.motion.video import VideoMotion
from kptalk.options import Options, ReenactOptions
from kptalk.types import SAMPLE_RATE, Array, Image, Motion, Portrait
from kptalk.version import __version__
from kptalk.weights.model import open_model

PortraitLike = str | PathLike[str] | Image | Portrait
SpeechLike = str | PathLike[str] | Speech


class Pipeline:
    """A model, loaded once; makes any number of videos."""

    def __init__(self, method: Method, name: str, method_name: str) -> None:
        self.method, self.name, self.method_name = method, name, method_name

    @classmethod
    def from_pretrained(
        cls, model: str | PathLike[str] = "embedded", device: str = "auto", precision: Precision = "auto"
    ) -> Pipeline:
        """Load a model.

        Torch's number of threads is left as it is: two or more per process gain little, see ``kptalk.device``.

        Args:
            model: ``embedded``, ``official``, or a model folder, such as ``kptalk train`` makes.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            precision: ``auto`` lets the official renderer compute in bfloat16 where the device does so natively, 39 dB
                from ``float32``.

        Raises:
            WeightsError: weights are missing or damaged.
            OptionError: no such device or precision.
        """
        if precision not in get_args(Precision):
            raise OptionError(f"precision is {precision!r}: give auto or float32")
        folder = open_model(model)
        return cls(loaders_of(folder).load(folder, pick_device(device), precision), folder.name, folder.method)

    def warm_up(self) -> None:
        """Do now what the first video would otherwise wait for: modules, networks and kernels that load at first use.

        One frame of a made-up portrait is drawn and dropped. For servers; a program that makes one video gains nothing.
        """
        portrait = plain_portrait()
        with FaceMesh() as mesh, closing(self.animate(portrait, hum(0.04)).frames()) as frames:
            mesh(portrait.image)
            next(frames)

    def animate(
        self,
        portrait: PortraitLike,
        speech: SpeechLike,
        *,
        face: int | None = None,
        options: Options | None = None,
        **changes: Any,
    ) -> Animation:
        """Let a portrait speak.

        Args:
            portrait: an image file, an (H, W, 3) uint8 RGB array, or a ``Portrait`` that was found before.
            speech: a sound or video file, or a ``Speech``.
            face: which of several faces, 1 is the leftmost; None for the largest.
            options: how.
            changes: single options by name, over those of ``options``: ``seed=7, framing="crop", pose="still"``.

        Raises:
            ImageError, FaceError, AudioError, OptionError: what was given cannot be used.
            MotionError, InputError: the pose's file cannot be used.
        """
        options = (options or Options()).changed(**changes)
        sound = speech if isinstance(speech, Speech) else Speech.open(speech)
        if (path := options.control.pose_file) is not None:
            pose = self.read_pose(path, sound.duration_hint)
            options = replace(options, control=replace(options.control, pose=pose))
        framing = self.method.framing(
            _portrait(portrait, face, options.rotate), options.framing, options.size, options.stitch
        )
        seconds, fps = sound.duration_hint, options.fps
        expected = None if seconds is None else max(1, round(seconds * fps))
        tags = self._tags("one photo and a recording", seed=options.seed)

        def motion(session: Session) -> Iterator[Motion]:
            return session.generate(SpeechWindows(_chunks(sound, fps), FPS), options)

        return Animation(self.method, framing, RenderJob(motion, fps, sound, expected, tags, options.seed))

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
            MotionError: the motion is of another motion space, or one that no face makes.
        """
        options = options or ReenactOptions()
        framing = self.method.framing(
            _portrait(portrait, face, options.rotate), options.framing, options.size, options.stitch
        )
        sound = speech if speech is None or isinstance(speech, Speech) else Speech.open(speech)
        pieces: list[Motion] | VideoMotion
        if isinstance(driver, Motion):
            driver.require_space(self.method.space.id)
            driver.require_bounds()
            whole = resample(driver, options.fps or driver.fps)
            pieces, fps, expected = [whole], whole.fps, len(whole)
        else:
            pieces = video = self.method.video(driver, options.fps)
            fps, expected = video.fps, video.frames_hint or 0
            sound = sound or sound_of_video(driver)
        tags = self._tags("one photo and a motion", mode=options.retarget.mode, region=options.retarget.region)

        def motion(session: Session) -> Iterator[Motion]:
            return session.retarget(pieces, options.retarget)

        return Animation(self.method, framing, RenderJob(motion, fps, sound, expected or None, tags))

    def read_pose(
        self, path: str | PathLike[str], seconds: Fraction | None = None, on_progress: Progress | None = None
    ) -> Motion:
        """A motion whose pose may drive ``Control.pose``: from a motion file (.safetensors), or from a video.

        Args:
            path: the file.
            seconds: of a video, no more is looked at; None for all of it.
            on_progress: called with the frames read.

        Raises:
            MotionError: the motion file is unreadable or of another motion space.
            InputError: the video cannot be read, or has no face.
        """
        if Path(path).suffix.lower() != MOTION_SUFFIX:
            report = on_progress and partial(on_progress, "reading the pose")
            return self.method.video(path, FPS).read(seconds, report)
        motion = Motion.load(path)
        try:
            motion.require_space(self.method.space.id)
        except MotionError as error:
            raise MotionError(f"{path}: {error}") from None
        return motion

    def stream(
        self,
        portrait: PortraitLike,
        speech: SpeechLike,
        *,
        face: int | None = None,
        options: Options | None = None,
        **changes: Any,
    ) -> Iterator[Image]:
        """Single video frames (H, W, 3) uint8 RGB as soon as they are drawn; arguments as ``animate``."""
        with closing(self.animate(portrait, speech, face=face, options=options, **changes).frames()) as pieces:
            for frames in pieces:
                yield from frames

    def _tags(self, origin: str, **facts: object) -> dict[str, str]:
        """What the file says of itself."""
        common = {"synthetic": True, "kptalk": __version__, "method": self.method_name, "model": self.name}
        return {
            "title": "Synthetic talking portrait",
            "comment": f"AI-generated: made by kptalk {__version__} from {origin}, not filmed",
            "description": json.dumps(common | {"renderer": self.method.renderer.name} | facts),
        }


def animate(
    portrait: PortraitLike,
    speech: SpeechLike,
    *,
    face: int | None = None,
    options: Options | None = None,
    **changes: Any,
) -> Animation:
    """Let a portrait speak, with the embedded model: ``kptalk.animate("face.jpg", "speech.wav").save("out.mp4")``.

    Arguments as ``Pipeline.animate``. To make several videos, load the model once with ``Pipeline.from_pretrained``.
    """
    return Pipeline.from_pretrained().animate(portrait, speech, face=face, options=options, **changes)


def video_motion(
    path: str | PathLike[str],
    fps: Fraction | None = None,
    model: str | PathLike[str] = "embedded",
    device: str = "auto",
) -> VideoMotion:
    """The motion of the person in a video, in a model's motion space, without the networks that this does not need.

    Raises:
        InputError: the video cannot be read.
        WeightsError: the weights are missing or damaged.
        OptionError: no such device.
    """
    folder = open_model(model)
    return VideoMotion(loaders_of(folder).load_reader(folder, pick_device(device)), path, fps)


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


def _chunks(speech: Speech, fps: Fraction) -> Iterator[Array]:
    """Samples at 16 kHz; raises AudioError at the end of a speech that is shorter than one frame of the video."""
    samples = 0
    for chunk in speech.chunks():
        samples += len(chunk)
        yield chunk
    if samples * fps < SAMPLE_RATE:
        seconds = samples / SAMPLE_RATE
        raise AudioError(f"{speech.name} lasts {seconds:.3f} s, less than one frame at {float(fps):g} fps")


def _portrait(portrait: PortraitLike, face: int | None, rotate: str) -> Portrait:
    return portrait if isinstance(portrait, Portrait) else find_portrait(read_image(portrait), face, rotate)
