"""Videos and their audio as the metrics get them: 25 frames per second with landmarks, 16 kHz mono."""

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np

from kptalk.errors import AudioError
from kptalk.evaluate.metric import FPS, RATE, FrameSample
from kptalk.face.landmarks import FaceMesh
from kptalk.media.audio import Speech
from kptalk.media.clip import read_frames
from kptalk.media.container import decode, open_stream
from kptalk.types import Array


def sample_frames(path: Path, seconds: float | None) -> Generator[FrameSample, None, None]:
    """A video's frames at 25 fps with the landmarks of its largest face, one after the other.

    Args:
        path: the video.
        seconds: where to stop; None for the whole video.

    Raises:
        InputError: the video cannot be read.
    """
    with FaceMesh(video=True) as mesh:
        for image in read_frames(path, FPS, end=seconds):
            face = mesh(image)
            yield FrameSample(image, face.landmarks if face else None)


def read_audio(path: Path, frames: int) -> Array | None:
    """The audio of a video from its first frame on, for so many frames at 25 fps, mono float32 at 16 kHz.

    Timestamps count: audio that begins before the pictures is cut, and audio that begins later has silence before it.
    Audio that ends before the pictures do makes it shorter; None where the video has none.
    """
    wanted = int(frames * RATE / FPS)
    try:
        late = round(_audio_delay(path) * RATE)
        parts, early = [np.zeros(min(max(late, 0), wanted), np.float32)], max(-late, 0)
        known = len(parts[0])
        for chunk in Speech.open(path).chunks():
            if known == wanted:
                break
            parts.append(chunk[early : early + wanted - known])
            early = max(early - len(chunk), 0)
            known += len(parts[-1])
    except AudioError:
        return None
    return np.concatenate(parts)


def _audio_delay(path: Path) -> Fraction:
    """Seconds from the first picture to the first audio sample; < 0: the audio begins first."""
    with open_stream(path, "video", AudioError) as video, open_stream(path, "audio", AudioError) as audio:
        begins = []
        for source in (video, audio):
            first = next(decode(*source), None)
            if first is None or first.pts is None or first.time_base is None:
                return Fraction(0)
            begins.append(Fraction(first.pts * first.time_base))
    return begins[1] - begins[0]
