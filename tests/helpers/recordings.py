"""Recordings made for the tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {".wav": "pcm_s16le", ".mp3": "libmp3lame", ".m4a": "aac", ".mp4": "aac", ".flac": "flac", ".ogg": "libopus"}


def tone(rate: int, seconds: float, channels: int = 1, hertz: float = 300.0) -> np.ndarray:
    """(C, N) float32: a sine of amplitude 0.5, in each channel a bit softer."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)
    return np.stack([wave / (1 + index) for index in range(channels)]).astype(np.float32)


def write_sound(path: Path, samples: np.ndarray, rate: int, layout: str = "mono", codec: str | None = None) -> Path:
    """Write (C, N) float32 samples; the suffix chooses the container."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(codec or CODECS[path.suffix], rate=rate, layout=layout)
        for start in range(0, samples.shape[1], 1000):
            packed = samples[:, start : start + 1000].T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), "flt", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_clip(path: Path, frames: np.ndarray, fps: Fraction, samples: np.ndarray | None = None, rate: int = 0) -> Path:
    """Write (T, H, W, 3) uint8 frames as near-lossless H.264, with (1, N) samples as AAC if there are any."""
    with av.open(f"file:{path}", "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "5", "preset": "ultrafast"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.gop_size = 10
        audio = None if samples is None else container.add_stream("aac", rate=rate, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            container.mux([*audio.encode(frame), *audio.encode(None)])
    return path


def read_sound(path: Path) -> tuple[np.ndarray, int, str]:
    """All samples (C, N), rate and layout of a file's sound, as a player gets them."""
    with av.open(f"file:{path}") as container:
        stream = container.streams.audio[0]
        parts = [frame.to_ndarray() for frame in container.decode(stream)]
        return np.concatenate(parts, axis=1), stream.rate, stream.layout.name
