"""The whole system on one screen: portrait and speech to a talking video.

    portrait ─ media ─ face ──────────────┐ source motion
    speech ─── media ─ audio windows ─────┤
                                          └─ generate ─ control ─ resample ─ draw ─ into the photo ─ video

Every stage is a stream, so memory does not grow with the length of the speech.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import numpy as np

from kptalk.audio import windows as audio_windows
from kptalk.audio.encoder import AudioEncoder, AudioEncoderConfig
from kptalk.audio.mel import SAMPLE_RATE
from kptalk.device import pick_device, set_threads
from kptalk.errors import AudioError, ImageError, MotionError, OptionError, OutputError, WeightsError
from kptalk.face.crop import Stage, crop_stage, full_stage
from kptalk.face.find import find_portrait
from kptalk.media.audio import Speech
from kptalk.media.image import read_image
from kptalk.media.video import VideoWriter, check_output
from kptalk.motion import generate, resample, smoothing
from kptalk.motion.control import Control, Controller
from kptalk.motion.denoiser import Denoiser, DenoiserConfig
from kptalk.motion.extract import pose_of_video
from kptalk.motion.facemesh import FaceMeshSource, FaceMeshSpace
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.types import Image, Motion, Portrait
from kptalk.version import __version__
from kptalk.weights.store import embedded_path, load_model, read_header

DEFAULT_FPS = Fraction(25)
FINEST_FPS = 1001  # largest denominator of a frame rate: that of 30000/1001; FFmpeg's rationals have 32 bits
MOTION_SUFFIX = ".safetensors"
DRAWN_AT_ONCE = 8  # frames, fewer of large ones; bounds memory
DRAWN_BYTES = 40_000_000  # in them, at most: 8 frames of 1280 x 1280
STAGES = ("motion", "drawing", "encoding")
WAITING = 4  # drawn pieces that may wait for the encoder
Progress = Callable[[str, int, int | None], None]  # stage, frames done, frames in all if known
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
        if not 1 <= self.fps <= 120:
            raise OptionError(f"fps is {self.fps}: give 1 to 120")
        object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(FINEST_FPS))
        object.__setattr__(self, "seed", int(self.seed))  # NumPy's integers are none for JSON
        if self.size is not None and not 64 <= self.size <= 4096:
            raise OptionError(f"size is {self.size}: give 64 to 4096 pixels")
        if self.output not in ("full", "crop"):
            raise OptionError(f"output is {self.output!r}: give full or crop")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise OptionError(f"steps is {self.steps}: give 1 to 1000")
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"seed is {self.seed}: give a number from 0 on")


T = TypeVar("T")


class Animation:
    """One talking video, made while it is read or saved."""

    def __init__(self, pipeline: Pipeline, stage: Stage, speech: Speech, options: Options) -> None:
        self._pipeline, self._speech, self.options = pipeline, speech, options
        self.stage = stage
        started = time.perf_counter()
        self._state = pipeline.renderer.prepare(stage.portrait, stage.free)
        self.seconds = {"portrait": time.perf_counter() - started, **dict.fromkeys(STAGES, 0.0)}
        height, width = stage.photo.shape[:2]
        self.size = (width, height)

    def motion(self) -> Iterator[Motion]:
        """The motion of the video, in pieces."""
        yield from self._pipeline.motion(self._state.source, self._speech, self.options)

    def frames(self, progress: Progress | None = None, kept: list[Motion] | None = None) -> Iterator[Image]:
        """The video's pictures, in pieces of (n, H, W, 3) uint8 RGB.

        Args:
            progress: told after every piece.
            kept: where given, the motion is collected there.
        """
        total = self._expected_frames()
        at_once = max(1, min(DRAWN_AT_ONCE, DRAWN_BYTES // self.stage.photo.nbytes))
        pieces, known, drawn = self.motion(), 0, 0
        while (piece := self._timed("motion", partial(next, pieces, None))) is not None:
            known += len(piece)
            if kept is not None:
                kept.append(piece)
            if progress:
                progress("motion", known, total)
            for first in range(0, len(piece), at_once):
                part = piece[first : first + at_once]
                yield self._timed("drawing", partial(self._draw, part))
                drawn += len(part)
                if progress:
                    progress("drawing", drawn, total)

    def save(
        self,
        path: str | PathLike[str],
        *,
        overwrite: bool = False,
        save_motion: str | PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Make the video and write it, H.264 and the speech's own sound as AAC, to an .mp4 file.

        Drawing and encoding run side by side. While at work the video has a temporary name in the same folder.

        Args:
            path: the file, ending in .mp4.
            overwrite: whether existing files are replaced.
            save_motion: also write the motion there, to a .safetensors file.
            progress: told of the frames done, stage by stage.

        Raises:
            OutputError: the video or the motion cannot be written there.
            AudioError: the speech is shorter than one frame.
        """
        check_output(path, overwrite)
        if save_motion:
            check_motion_output(save_motion, overwrite)
        total = self._expected_frames()
        kept: list[Motion] | None = [] if save_motion else None
        encoded = 0
        with (
            ThreadPoolExecutor(1) as thread,
            VideoWriter(path, self.options.fps, self.size, self._speech, self._tags(), overwrite) as writer,
        ):
            waiting: deque[tuple[int, Future[None]]] = deque()
            pieces = self.frames(progress, kept)
            more = True
            while more or waiting:
                frames = next(pieces, None) if more else None
                more = frames is not None
                if frames is not None:
                    waiting.append((len(frames), thread.submit(self._encode, writer, frames)))
                if not more or len(waiting) > WAITING:
                    count, done = waiting.popleft()
                    done.result()
                    encoded += count
                    if progress:
                        progress("encoding", encoded, encoded if not waiting and not more else total)
        if save_motion and kept:
            Motion.concatenate(kept).save(save_motion)
        return Path(path)

    def _draw(self, motion: Motion) -> Image:
        return self.stage.frames(self._pipeline.renderer.draw(self._state, motion))

    def _encode(self, writer: VideoWriter, frames: Image) -> None:
        self._timed("encoding", partial(writer.write, frames))

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[stage] += time.perf_counter() - started

    def _expected_frames(self) -> int | None:
        duration = self._speech.duration_hint
        return None if duration is None else max(1, round(duration * self.options.fps))

    def _tags(self) -> dict[str, str]:
        """What the file says of itself."""
        facts = {"synthetic": True, "kptalk": __version__, "method": "keypoint", "renderer": "mesh"}
        facts |= {"weights": self._pipeline.name, "seed": self.options.seed}
        return {
            "title": "Synthetic talking portrait",
            "comment": f"AI-generated: made by kptalk {__version__} from one photo and a recording, not filmed",
            "description": json.dumps(facts),
        }


class Pipeline:
    """The models, loaded once; makes any number of videos."""

    def __init__(self, generator: generate.MotionGenerator, renderer: MeshRenderer, name: str) -> None:
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
        paths = {name: _weights_file(weights, name) for name in ("facemesh", "audio", "motion")}
        space = FaceMeshSpace.load(paths["facemesh"])
        encoder = load_model(paths["audio"], AudioEncoder, AudioEncoderConfig).to(where)
        denoiser = load_model(paths["motion"], Denoiser, DenoiserConfig).to(where)
        try:
            prior = np.array(json.loads(read_header(paths["audio"])["speech_prior"]), np.float32)
            config = generate.SamplerConfig(**json.loads(read_header(paths["motion"])["sampler"]))
        except (KeyError, TypeError, ValueError) as error:
            folder = paths["audio"].parent
            raise WeightsError(f"weights in {folder} lack {error}: train them with this version") from error
        generator = generate.MotionGenerator(space, encoder, denoiser, prior, config)
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
        sound = speech if isinstance(speech, Speech) else Speech.open(speech)
        if not isinstance(portrait, Portrait):
            image = _checked(portrait) if isinstance(portrait, np.ndarray) else read_image(portrait)
            portrait = find_portrait(image, face)
        stage = (crop_stage if options.output == "crop" else full_stage)(portrait, options.size)
        return Animation(self, stage, sound, options)

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
        if motion.space != self.space.id:
            raise MotionError(f"{path} is a motion of the space {motion.space!r}, these weights use {self.space.id!r}")
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


def animate(
    portrait: PortraitLike, speech: SpeechLike, *, face: int | None = None, options: Options | None = None
) -> Animation:
    """Let a portrait speak, with the embedded weights: ``kptalk.animate("face.jpg", "speech.wav").save("out.mp4")``.

    To make several videos, load the models once with ``Pipeline.from_pretrained`` and call its ``animate``.
    """
    return Pipeline.from_pretrained().animate(portrait, speech, face=face, options=options)


def check_motion_output(path: str | PathLike[str], overwrite: bool = False) -> None:
    """Make sure that a motion can be written to ``path``, before any work is done.

    Raises:
        OutputError: not a .safetensors file, the folder is absent or cannot be written to, or the file exists already.
    """
    path = Path(path)
    if path.suffix.lower() != MOTION_SUFFIX:
        raise OutputError(f"{path}: a motion file is needed, give a name that ends in {MOTION_SUFFIX}")
    if not path.parent.is_dir():
        raise OutputError(f"folder {path.parent} of the motion file does not exist: create it")
    if path.is_dir() or (path.exists() and not overwrite):
        raise OutputError(f"{path} exists already: allow overwriting, or give another name")
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


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
