"""What goes between the server and the process of a live voice.

A ``Start``, then sound as bytes, then ``STOP`` or ``CANCEL``; back a ``Started``, video as bytes, and at the end of
each session an ``Ended``. ``READY`` comes once, when the model is loaded; ``None`` ends the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP, CANCEL, READY = "stop", "cancel", "ready"


@dataclass(frozen=True)
class Start:
    """What a session begins with: the photo's file and digest, which face of it, and options as a job has them."""

    portrait: Path
    digest: str
    face: int | None
    options: dict[str, Any]


@dataclass(frozen=True)
class Started:
    """Of the video: its size, the seconds from a sound to its frame without computing, those before the first sound."""

    size: tuple[int, int]
    delay: float
    lead: float


@dataclass(frozen=True)
class Ended:
    """How a session ended: a code of the API and its message, or neither."""

    code: str | None = None
    message: str = ""
