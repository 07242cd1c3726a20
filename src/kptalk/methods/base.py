"""What a method is, and the one loop of all methods: generate, smooth, control, resample, draw.

A method bundles a motion space, a generator, a filter, a renderer and a framing that belong together. All streams of
the loop have explicit state, so memory does not grow with the length of the speech.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from typing import Generic, Protocol

from kptalk.audio.windows import SpeechWindows
from kptalk.errors import OptionError
from kptalk.face.framing import Framing
from kptalk.motion.control import Controller
from kptalk.motion.filters import buffer, resample
from kptalk.motion.filters.buffer import FrameBuffer, Smooth
from kptalk.motion.generator import MemoryT, WindowGenerator, WindowGrid
from kptalk.motion.retarget import retarget
from kptalk.motion.space import MotionReader, MotionSpace, ReaderStateT, SourceT
from kptalk.motion.video import VideoMotion
from kptalk.options import Options, ReenactOptions, RetargetOptions
from kptalk.render.renderer import DrawStateT, PreparedT, Renderer
from kptalk.render.renderer import Precision as Precision
from kptalk.types import Image, Motion, Portrait


class Session(Protocol):
    """A portrait that a method has prepared."""

    def generate(self, speech: SpeechWindows, options: Options) -> Iterator[Motion]:
        """Motion at ``options.fps``, in pieces, for mel windows at 25 fps."""

    def retarget(self, pieces: Iterable[Motion], options: RetargetOptions) -> Iterator[Motion]:
        """A driver's motion as the portrait's, in pieces."""

    def render(self, pieces: Iterable[Motion], batch_size: int, seed: int = 0) -> Iterator[Image]:
        """Video frames in arrays (T, H, W, 3) uint8 RGB of at most ``batch_size``."""


class Method(Protocol):
    """All that the pipeline knows of a ``DiffusionMethod``, whose types differ from method to method."""

    @property
    def space(self) -> Identified: ...

    @property
    def renderer(self) -> Named: ...

    @property
    def generator(self) -> Windowed: ...

    @property
    def framing(self) -> Callable[[Portrait, str, int | None, bool | None], Framing]: ...

    def session(self, framing: Framing, options: Options | ReenactOptions | None = None) -> Session:
        """Prepare the portrait of a framing; raises OptionError where its renderer has no use for an option."""

    def video(self, path: str | PathLike[str], fps: Fraction | None = None) -> VideoMotion:
        """The motion of the person in a video; raises InputError where it cannot be read."""


Refinable = Callable[[bool], Method]


class Identified(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def keypoints(self) -> int: ...


class Named(Protocol):
    @property
    def name(self) -> str: ...


class Windowed(Protocol):
    @property
    def grid(self) -> WindowGrid: ...


@dataclass(frozen=True)
class DiffusionMethod(Generic[SourceT, MemoryT, ReaderStateT, PreparedT, DrawStateT]):
    """Parts that belong together.

    Attributes:
        space: units and regions of motion, for generator, reader and renderer.
        reader: reads videos.
        generator: draws motion for speech.
        smooth, radius: the filter of generated motion, and how many frames on either side it looks at.
        renderer: draws frames.
        framing: what the video shows of a portrait; the arguments are those of ``Options``. Raises OptionError where
            the method does not stitch.
        refined: the same method whose frames a network refines, or not; None where the model has no such network.
    """

    space: MotionSpace[SourceT]
    reader: MotionReader[ReaderStateT]
    generator: WindowGenerator[SourceT, MemoryT]
    smooth: Smooth
    radius: int
    renderer: Renderer[SourceT, PreparedT, DrawStateT]
    framing: Callable[[Portrait, str, int | None, bool | None], Framing]
    refined: Refinable | None = None

    def generate(self, source: SourceT, speech: SpeechWindows, options: Options) -> Iterator[Motion]:
        """Generate, smooth, control, resample: motion at ``options.fps``, in pieces."""
        generator = self.generator.with_steps(options.steps)
        seed = speech.seed(options.seed)  # else all videos of one seed would move and blink alike
        style = generator.style(options.control, seed)
        controller = Controller(self.space, source, options.control, generator.draws_blinks, style)
        generator_state, smoothing_state = generator.start(source, seed, style), FrameBuffer()
        control_state, resample_state = controller.start(seed), resample.ResampleState(options.fps)
        for windows in speech.at_loudness(generator.loudness):
            motion, activity, generator_state = generator.step(windows, generator_state)
            motion, activity, smoothing_state = buffer.step(self.smooth, self.radius, motion, activity, smoothing_state)
            motion, control_state = controller.step(motion, activity, control_state)
            motion, resample_state = resample.step(motion, resample_state)
            yield motion.with_style(style)
        motion, activity = generator.finish(generator_state)
        motion, activity = buffer.finish(self.smooth, smoothing_state.append(motion, activity))
        motion, control_state = controller.step(motion, activity, control_state)
        motion = Motion.concatenate([motion, controller.finish(control_state)])
        motion, resample_state = resample.step(motion, resample_state)
        rest = resample.finish(resample_state, speech.frame_count(options.fps))
        yield Motion.concatenate([motion, rest]).with_style(style)

    def session(self, framing: Framing, options: Options | ReenactOptions | None = None) -> Session:
        if options is None:
            return DiffusionSession(self, framing)
        if options.refine is not None:
            if self.refined is None:
                raise OptionError("refine needs a model with l2v, a network that draws faces", option="refine")
            return self.refined(options.refine).session(framing, replace(options, refine=None))
        renderer = self.renderer.with_drawing(options.draw_steps, options.guidance)
        return DiffusionSession(replace(self, renderer=renderer), framing)

    def video(self, path: str | PathLike[str], fps: Fraction | None = None) -> VideoMotion:
        return VideoMotion(self.reader, path, fps)


class DiffusionSession(Generic[SourceT, MemoryT, ReaderStateT, PreparedT, DrawStateT]):
    """See ``Session``."""

    def __init__(
        self, method: DiffusionMethod[SourceT, MemoryT, ReaderStateT, PreparedT, DrawStateT], framing: Framing
    ) -> None:
        self.method, self.framing = method, framing
        self.prepared = method.renderer.prepare(framing.portrait, framing.free)
        self.source = method.renderer.source(self.prepared)

    def generate(self, speech: SpeechWindows, options: Options) -> Iterator[Motion]:
        return self.method.generate(self.source, speech, options)

    def retarget(self, pieces: Iterable[Motion], options: RetargetOptions) -> Iterator[Motion]:
        return retarget(pieces, self.source.motion, self.method.space, options)

    def render(self, pieces: Iterable[Motion], batch_size: int, seed: int = 0) -> Iterator[Image]:
        renderer = self.method.renderer
        state = renderer.start(self.prepared, seed)
        for piece in pieces:
            for first in range(0, len(piece), batch_size):
                frames, state = renderer.step(piece[first : first + batch_size], state)
                yield self.framing.frames(frames)
        if len(rest := renderer.finish(state)):
            yield self.framing.frames(rest)
