"""What the pipeline asks of a system: all that depends on its motion space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from os import PathLike
from typing import Any, Protocol

from kptalk.audio.windows import Windows
from kptalk.job import Progress, Renderer, Stage
from kptalk.motion.control import Control
from kptalk.motion.facemesh.reader import MotionReader
from kptalk.motion.retarget import Retargeter
from kptalk.types import Motion, Portrait


class System(Protocol):
    """Networks that belong together."""

    @property
    def space(self) -> Any:
        """Its motion space; ``id`` is what matters to others."""

    @property
    def draws(self) -> str:
        """Name of its renderer, ``mesh`` or ``liveportrait``."""

    @property
    def renderer(self) -> Renderer:
        """Draws motion on photos."""

    @property
    def reader(self) -> MotionReader:
        """Reads motion from videos."""

    @property
    def retargeter(self) -> Retargeter:
        """Passes motion from person to person."""

    def stage(self, portrait: Portrait, output: str, size: int | None, stitch: bool | None) -> Stage:
        """What the video shows.

        Args:
            portrait: the photo.
            output: ``full`` or ``crop``.
            size: see ``Options``.
            stitch: see ``Options``.

        Raises:
            OptionError: this renderer does not stitch.
        """

    def speak(
        self, source: Any, windows: Iterable[Windows], steps: int | None, seed: int, control: Control
    ) -> Iterator[Motion]:
        """Motion at 25 frames a second for a portrait, in pieces, some of them without frames.

        Args:
            source: what the renderer read from the portrait.
            windows: (n, 80, 16) mel windows at 25 fps, as they become known.
            steps: denoising steps; None for what suits the weights.
            seed: fixes the motion.
            control: what the user wants changed.
        """

    def read_pose(self, path: str | PathLike[str], seconds: Fraction | None, progress: Progress | None) -> Motion:
        """The pose of the person in a video.

        Args:
            path: the video.
            seconds: no more is looked at; None for all of it.
            progress: told of the frames looked at.

        Raises:
            InputError: the video cannot be read, or has no face.
        """
