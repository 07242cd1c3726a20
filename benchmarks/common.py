"""What the benchmarks share: a portrait, a recording of any length, and a child process that is measured."""

from __future__ import annotations

import os
import sys
import time
import wave
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from kptalk import Speech

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT / "examples" / "speech.mp3"


def portrait(folder: Path) -> Path:
    """scikit-image's astronaut, 512 x 512, as a file."""
    path = folder / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


def recording(folder: Path, seconds: float) -> Path:
    """The demo's speech, repeated or cut to a length, as a wav file."""
    sound = np.concatenate(list(Speech.open(SPEECH).chunks()))
    wanted = round(seconds * 16_000)
    samples = np.resize(sound, wanted)
    path = folder / f"speech_{seconds:g}s.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def run(*arguments: str | Path) -> tuple[float, float]:
    """Run ``kptalk`` with arguments in a process of its own; wall-clock seconds and peak memory in MB."""
    started = time.perf_counter()
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "kptalk", *map(str, arguments)])
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"kptalk {' '.join(map(str, arguments))} failed with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024
