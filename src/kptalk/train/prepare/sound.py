"""The sound of a video, in step with its pictures as the file's timestamps say."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptalk.errors import AudioError, InputError
from kptalk.media.audio import Speech
from kptalk.media.container import decode, open_stream, packets
from kptalk.types import SAMPLE_RATE

GAPS = 0.1  # seconds that may be missing within the sound; more, and what follows is early


def read_sound(video: Path) -> NDArray[np.int16]:
    """All sound at 16 kHz, mono; sample 0 belongs to the moment of the first frame.

    Sound that begins later follows silence; what comes before the first frame is left out.

    Raises:
        InputError: there is no sound, or parts of it are missing.
    """
    chunks = [np.round(chunk * 32767).astype(np.int16) for chunk in Speech.open(video).chunks()]
    sound = np.concatenate(chunks)
    late = _first_time(video, "audio") - _first_time(video, "video")
    missing = _span(video) - len(sound) / SAMPLE_RATE
    if missing > GAPS:
        raise AudioError(f"{missing:.1f} s of sound are missing in between")
    shift = round(late * SAMPLE_RATE)
    return np.concatenate([np.zeros(max(0, shift), np.int16), sound[max(0, -shift) :]])


def _first_time(video: Path, kind: Any) -> float:
    """Seconds of the first picture or sound that can be decoded."""
    with open_stream(video, kind) as (container, stream):
        first = next(iter(decode(container, stream)), None)
        if first is None:
            raise InputError(f"{video} has a stream of {kind}, but nothing of it can be decoded")
        return 0.0 if first.pts is None or first.time_base is None else float(Fraction(first.pts * first.time_base))


def _span(video: Path) -> float:
    """Seconds from the beginning of the first packet of sound to the end of the last."""
    begin, end = None, 0.0
    with open_stream(video, "audio") as (container, stream):
        for packet in packets(container, stream):
            if packet is None or packet.pts is None or packet.time_base is None:
                continue
            with suppress(TypeError):
                begin = packet.pts * packet.time_base if begin is None else begin
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
    return 0.0 if begin is None else float(end - begin)
