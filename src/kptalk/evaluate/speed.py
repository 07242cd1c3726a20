"""Speed and memory: measured while videos are made, kept in ``timing.json`` beside them.

Wall clock of a whole job with the models loaded, from opening portrait and speech to the closed file: decoding,
motion, drawing and encoding. Other projects' videos get the same columns where their folder holds such a file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from kptalk.errors import DatasetError
from kptalk.evaluate.metric import MetricSpec, specs
from kptalk.files import explain, write_bytes

TIMING = "timing.json"
COLUMNS = specs("fps", "real_time_factor", "first_frame", "peak_memory")
ABOUT_STAGE = "wall clock of this stage per second of video; stages run side by side"


@dataclass(frozen=True)
class Timing:
    """How one video was made."""

    frames: int  # in the video
    duration: float  # of the video in seconds
    seconds: float  # of wall clock
    first_frame: float  # seconds until the first frame was drawn
    peak_memory: float  # of the process, in MB; NaN where the system does not tell
    stages: Mapping[str, float] = field(default_factory=dict)  # seconds by stage; they run side by side

    def values(self) -> dict[str, float]:
        """By column key; ``stage_...`` for the stages, seconds per second of video."""
        return {
            "fps": self.frames / self.seconds,
            "real_time_factor": self.seconds / self.duration,
            "first_frame": self.first_frame,
            "peak_memory": self.peak_memory,
            **{f"stage_{name}": seconds / self.duration for name, seconds in self.stages.items()},
        }


def stage_columns(timings: Iterable[Timing]) -> tuple[MetricSpec, ...]:
    """A column for every stage that any of the timings names."""
    names = dict.fromkeys(name for timing in timings for name in timing.stages)
    return tuple(MetricSpec(f"stage_{name}", f"stage {name}", "s/s", "lower", ABOUT_STAGE) for name in names)


def write_timings(folder: Path, timings: Mapping[str, Timing]) -> None:
    """Write ``timing.json``, by file name of the video.

    Raises:
        OutputError: it cannot be written there.
    """
    content = {name: asdict(timing) for name, timing in timings.items()}
    write_bytes(folder / TIMING, json.dumps(content, indent=1).encode())


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
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path} is not a table of timings: {explain(error)}") from error
