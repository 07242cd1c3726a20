"""Speech made of a hum, and what a video that was made of it holds."""

from pathlib import Path

import av
import numpy as np

from kptalk.media.audio import Speech


def hum(samples, rate=16_000):
    """A voice that swells and fades four times a second."""
    t = np.arange(samples) / rate
    return (0.3 * np.sin(2 * np.pi * 140 * t) * (1 + np.sin(8 * np.pi * t)) / 2).astype(np.float32)


def said(seconds):
    """The beginning of the demo's speech, (N,) float32 at 16 kHz."""
    recording = Path(__file__).parents[2] / "examples/speech.mp3"
    return np.concatenate(list(Speech.open(recording).chunks()))[: round(16_000 * seconds)]


def speech(samples, rate=16_000):
    return Speech.from_samples(hum(samples, rate), rate)


def count(animation):
    return sum(map(len, animation.frames()))


def streams(path):
    """Pictures' number and seconds, sound's seconds, and the file's tags."""
    with av.open(str(path)) as container:
        pictures = [frame.time for frame in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
        tags = dict(container.metadata)
    with av.open(str(path)) as container:
        sound = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    return len(pictures), len(pictures) / rate, sound, tags
