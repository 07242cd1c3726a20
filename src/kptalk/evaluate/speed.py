"""Speed and memory: measured while videos are made, kept in ``timing.json`` beside them.

Wall clock of a whole job with the models loaded, from opening portrait and speech to the closed file: decoding,
motion, drawing and encoding. Other projects' videos get the same columns where their folder holds such a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from kptalk.errors import DatasetError
from kptalk.evaluate.metric import Column
from kptalk.evaluate.report.files import write_whole

TIMING = "timing.json"

COLUMNS = (
    Column("fps", "speed", "frames/s", "higher", "frames a second of wall clock, decoding and encoding included"),
    Column("real_time_factor", "real-time factor", "", "lower", "seconds of wall clock for a second of video"),
    Column("first_frame", "first frame after", "s", "lower", "wall clock until the first frame is drawn"),
    Column("peak_memory", "peak memory", "MB", "lower", "most that the process held in memory until the clip was done"),
)


@dataclass(frozen=True)
class Timing:
    """How one video was made: frames, seconds of wall clock in all and until the first frame, memory, stages.

    Attributes:
        frames: in the video.
        duration: of the video in seconds.
        seconds: of wall clock.
        first_frame: seconds until the first frame was drawn.
        peak_memory: of the process, in MB; NaN where the system does not tell.
        stages: seconds by stage; stages run side by side, so they may exceed ``seconds``.
    """

    frames: int
    duration: float
    seconds: float
    first_frame: float
    peak_memory: float
    stages: Mapping[str, float] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """By column key; ``stage_...`` for the stages, seconds for a second of video."""
        return {
            "fps": self.frames / self.seconds,
            "real_time_factor": self.seconds / self.duration,
            "first_frame": self.first_frame,
            "peak_memory": self.peak_memory,
            **{f"stage_{name}": seconds / self.duration for name, seconds in self.stages.items()},
        }


def stage_columns(timings: Iterable[Timing]) -> tuple[Column, ...]:
    """A column for every stage that any of the timings names."""
    names = dict.fromkeys(name for timing in timings for name in timing.stages)
    about = "wall clock of this stage for a second of video; stages run side by side"
    return tuple(Column(f"stage_{name}", f"stage {name}", "s/s", "lower", about) for name in names)


def write_timings(folder: Path, timings: Mapping[str, Timing]) -> None:
    """Write ``timing.json``, by file name of the video.

    Raises:
        OutputError: it cannot be written there.
    """
    write_whole(folder / TIMING, json.dumps({name: asdict(timing) for name, timing in timings.items()}, indent=1))


def read_timings(folder: Path) -> dict[str, Timing]:
    """Timings of a folder's videos by file name; none where the folder has no ``timing.json``.

    Raises:
        DatasetError: the file is not what ``write_timings`` writes.
    """
    path = folder / TIMING
    if not path.exists():
        return {}
    try:
        found = {name: Timing(**entry) for name, entry in json.loads(path.read_text()).items()}
        for timing in found.values():
            if not (np.isfinite(timing.seconds) and timing.seconds > 0 and timing.duration > 0):
                raise ValueError("seconds and duration must be positive")
            timing.values()
        return found
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not a table of timings: {error}") from error
