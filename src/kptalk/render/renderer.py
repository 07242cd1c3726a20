"""Interface of a renderer: motion of one space becomes pictures, as a stream with explicit state.

    prepared = renderer.prepare(portrait, free)
    state = renderer.start(prepared, seed)
    frames, state = renderer.step(motion, state)      # for every chunk of the motion
    frames = renderer.finish(state)                   # what a renderer that looks ahead still holds back

States are values: the same state and chunk give the same frames, and threads may share them.
"""

from collections.abc import Collection
from typing import Literal, Protocol, Self, TypeVar

from kptalk.errors import OptionError
from kptalk.face.framing import Edge
from kptalk.types import Image, Motion, Portrait, SourceMotion

SourceT_co = TypeVar("SourceT_co", bound=SourceMotion, covariant=True)
PreparedT = TypeVar("PreparedT")
DrawStateT = TypeVar("DrawStateT")
Precision = Literal["auto", "float32"]  # of networks that draw: what suits the device, or float32 on any


class Renderer(Protocol[SourceT_co, PreparedT, DrawStateT]):
    """Draws motion of one space on a portrait; holds no state of its own.

    A prepared portrait was read once, for all its frames; a draw state is what a stream of frames remembers.
    """

    @property
    def name(self) -> str:
        """``mesh``, ``liveportrait`` or ``latent``."""

    def with_drawing(self, steps: int | None, guidance: float | None) -> Self:
        """The same with other numbers of its diffusion, see ``Options``; None keeps what suits the model.

        Raises:
            OptionError: its frames are not drawn by diffusion, and a number is given.
        """

    def prepare(self, portrait: Portrait, free: Collection[Edge] = ()) -> PreparedT:
        """Read a portrait; ``free`` names the edges at which the picture may move, as nothing is beyond them.

        Raises:
            ImageError: the picture has a size that this renderer does not draw.
        """

    def source(self, prepared: PreparedT) -> SourceT_co:
        """What the motion space read from the portrait."""

    def start(self, prepared: PreparedT, seed: int) -> DrawStateT:
        """State before the first frame; ``seed`` fixes all that is random."""

    def step(self, motion: Motion, state: DrawStateT) -> tuple[Image, DrawStateT]:
        """Frames (T, H, W, 3) uint8 RGB, and the state after them; T may be less than the motion's.

        Raises:
            MotionError: the motion belongs to another motion space.
        """

    def finish(self, state: DrawStateT) -> Image:
        """The frames (T, H, W, 3) uint8 RGB that are left, often none."""


def refuse_drawing(renderer: str, steps: int | None, guidance: float | None) -> None:
    """Raises OptionError where numbers of a diffusion are given to a renderer that has none."""
    for name, value in (("draw_steps", steps), ("guidance", guidance)):
        if value is not None:
            message = f"{name} belongs to refined frames: the renderer {renderer} does not denoise any"
            raise OptionError(message, option=name)
