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
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, Unpack, get_args

from numpy.typing import NDArray
from PIL.Image import Image as PillowImage

from kptalk.audio.windows import SpeechWindows
from kptalk.device import pick_device
from kptalk.errors import InputError, MotionError, OptionError
from kptalk.face.find import find_portrait
from kptalk.face.framing import Framing
from kptalk.face.landmarks import FaceMesh
from kptalk.files import MOTION_SUFFIX
from kptalk.job import Animation, Progress, RenderJob
from kptalk.live import LOOKAHEAD, STRIDE, LiveAnimation
from kptalk.media.given import SpeechLike, as_speech, payload_of, sound_of_video, speech_chunks
from kptalk.media.image import read_image
from kptalk.methods import loaders_of
from kptalk.methods.base import Method, Precision, Session
from kptalk.methods.trial import hum, plain_portrait
from kptalk.motion.filters.resample import resample
from kptalk.motion.generator import FPS
from kptalk.motion.video import VideoMotion
from kptalk.options import OptionKeywords, Options, ReenactKeywords, ReenactOptions
from kptalk.types import Image, Motion, Portrait
from kptalk.validation import shown
from kptalk.version import __version__
from kptalk.weights.model import open_model

PortraitLike = str | PathLike[str] | bytes | BinaryIO | PillowImage | NDArray[Any] | Portrait
"""A photo: the path of an image file, its bytes, a file opened in binary mode, a Pillow image, an array (H, W) grey,
(H, W, 3) RGB or (H, W, 4) RGBA, of uint8 or of floats from 0 to 1, or a ``Portrait`` that was found before."""

STYLE_SECONDS = Fraction(60)  # of a video whose style is wanted
OptionsT = TypeVar("OptionsT", Options, ReenactOptions)
logger = logging.getLogger(__name__)


class Pipeline:
    """A model, loaded once; makes any number of videos."""

    def __init__(self, method: Method, name: str, method_name: str) -> None:
        self.method, self.name, self.method_name = method, name, method_name

    def __repr__(self) -> str:
        return f"<Pipeline of model {self.name!r}: method {self.method_name}, renderer {self.method.renderer.name}>"

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
        folder, chosen, started = open_model(model), pick_device(device), time.perf_counter()
        pipeline = cls(loaders_of(folder).load(folder, chosen, precision), folder.name, folder.method)
        logger.info("%r loaded from %s on %s in %.2f s", pipeline, folder.path, chosen, time.perf_counter() - started)
        return pipeline

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
        **changes: Unpack[OptionKeywords],
    ) -> Animation:
        """Let a portrait speak.

        Args:
            portrait: a photo: a path, bytes, an open file, a Pillow image, an array, or a ``Portrait``; see
                ``PortraitLike``.
            speech: a recording: a path, bytes, an open file, ``(samples, rate)``, or a ``Speech``; see ``SpeechLike``.
            face: which of several faces, 1 is the leftmost; None for the largest.
            options: how.
            changes: single options by name, over those of ``options``: ``seed=7, framing="crop", pose="still"``.

        Raises:
            ImageError, FaceError, AudioError, OptionError: what was given cannot be used.
            MotionError, InputError: the pose's file cannot be used.
        """
        options, sound = _given(options, Options).changed(**changes), as_speech(speech)
        framing, tags, options = self._prepared(portrait, face, options, "a recording", sound.duration_hint)
        seconds, fps = sound.duration_hint, options.fps
        expected = None if seconds is None else max(1, round(seconds * fps))

        def motion(session: Session) -> Iterator[Motion]:
            return session.generate(SpeechWindows(speech_chunks(sound, fps), FPS), options)

        mark = partial(payload_of, tags, framing.photo, sound) if options.watermark else None
        return Animation(
            self.method, framing, RenderJob(motion, fps, sound, expected, tags, options, options.seed, mark)
        )

    def live(
        self,
        portrait: PortraitLike,
        *,
        face: int | None = None,
        options: Options | None = None,
        stride: int = STRIDE,
        lookahead: int = LOOKAHEAD,
        **changes: Unpack[OptionKeywords],
    ) -> LiveAnimation:
        """Let a portrait speak with a voice that is still speaking: ``pipeline.live("face.jpg").frames(chunks)``.

        Args:
            portrait: as in ``animate``.
            face: which of several faces, 1 is the leftmost; None for the largest.
            options: how; the frame rate is 25, and ``ease_in_out`` has no effect.
            stride: new frames of a motion window. Fewer come sooner and cost more.
            lookahead: frames of a window that the next one draws again, knowing more. Fewer come sooner, and are worse.
            changes: single options by name, over those of ``options``.

        Raises:
            ImageError, FaceError, OptionError: what was given cannot be used, or the model cannot speak live.
            MotionError, InputError: the pose's file cannot be used.
        """
        options = _given(options, Options).changed(**changes)
        if options.fps != FPS:
            raise OptionError(f"fps is {float(options.fps):g}: live video has {float(FPS):g} frames per second")
        framing, tags, options = self._prepared(portrait, face, options, "a live voice", None)
        mark = payload_of(tags, framing.photo, None) if options.watermark else None
        return LiveAnimation(self.method, framing, options, tags, stride, lookahead, mark)

    def reenact(
        self,
        portrait: PortraitLike,
        driver: str | PathLike[str] | Motion,
        speech: SpeechLike | None = None,
        *,
        face: int | None = None,
        options: ReenactOptions | None = None,
        **changes: Unpack[ReenactKeywords],
    ) -> Animation:
        """Let a portrait move as the person in a video does.

        Args:
            portrait: as in ``animate``.
            driver: a video file, or a motion.
            speech: the sound; None for the driving video's own, if it has any.
            face: which of several faces of the portrait, 1 is the leftmost; None for the largest.
            options: how.
            changes: single options by name, over those of ``options``: ``mode="absolute", region="lips"``.

        Raises:
            ImageError, FaceError, AudioError, OptionError, InputError: what was given cannot be used. That the video
                shows no face is found out when the animation is read.
            MotionError: the motion is of another motion space, or one that no face makes.
        """
        options = _given(options, ReenactOptions).changed(**changes)
        if not isinstance(driver, str | PathLike | Motion):
            raise InputError(f"the driver is of type {type(driver).__name__}: give the path of a video, or a Motion")
        framing = self.method.framing(
            _portrait(portrait, face, options.rotate), options.framing, options.size, options.stitch
        )
        sound = None if speech is None else as_speech(speech)
        pieces: list[Motion] | VideoMotion
        if isinstance(driver, Motion):
            driver.require_space(self.method.space.id, self.method.space.keypoints)
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

        source = driver.expression if isinstance(driver, Motion) else driver
        mark = partial(payload_of, tags, framing.photo, source) if options.watermark else None
        job = RenderJob(motion, fps, sound, expected or None, tags, options, watermark=mark)
        return Animation(self.method, framing, job)

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
            motion.require_space(self.method.space.id, self.method.space.keypoints)
        except MotionError as error:
            raise MotionError(f"{path}: {error}") from None
        return motion

    def read_style(self, path: str | PathLike[str]) -> Motion:
        """The motion of the person of ``Control.style``, at most ``STYLE_SECONDS`` of it; as ``read_pose``."""
        return self.read_pose(path, STYLE_SECONDS)

    def stream(
        self,
        portrait: PortraitLike,
        speech: SpeechLike,
        *,
        face: int | None = None,
        options: Options | None = None,
        **changes: Unpack[OptionKeywords],
    ) -> Iterator[Image]:
        """Single video frames (H, W, 3) uint8 RGB as soon as they are drawn; arguments and errors as ``animate``."""
        return iter(self.animate(portrait, speech, face=face, options=options, **changes))

    def _prepared(
        self, portrait: PortraitLike, face: int | None, options: Options, voice: str, seconds: Fraction | None
    ) -> tuple[Framing, dict[str, str], Options]:
        """What the video shows, what it says of itself, and options whose files have been read."""
        if (path := options.control.pose_file) is not None:
            options = options.changed(pose=self.read_pose(path, seconds))
        style = options.control.style
        if (path := options.control.style_file) is not None:
            options = options.changed(style=self.read_style(path))
        framing = self.method.framing(
            _portrait(portrait, face, options.rotate), options.framing, options.size, options.stitch
        )
        named = Path(style).name if isinstance(style, str | PathLike) else "motion"
        asked = {"style": named, "liveliness": options.control.liveliness, "head_spread": options.control.head_spread}
        return framing, self._tags(f"one photo and {voice}", seed=options.seed, **asked), options

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
    **changes: Unpack[OptionKeywords],
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


def _portrait(portrait: PortraitLike, face: int | None, rotate: str) -> Portrait:
    if isinstance(portrait, Portrait):
        return portrait
    if face is not None and (isinstance(face, bool) or not isinstance(face, int)):
        raise OptionError(f"face is {shown(face)}: give a whole number, 1 is the leftmost")
    found = find_portrait(read_image(portrait), face, rotate)
    logger.info("face found: %r", found)
    return found


def _given(options: OptionsT | None, kind: type[OptionsT]) -> OptionsT:
    if not isinstance(options, kind | None):
        raise OptionError(f"options is {shown(options)}: give {kind.__name__}, or single options by name")
    return kind() if options is None else options
