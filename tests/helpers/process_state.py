"""What belongs to the whole process and is no library's to change; run as a program it makes a video in between.

python process_state.py portrait.png
"""

import io
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import cv2
import numpy as np
import PIL.Image
import PIL.ImageFile
import torch

from kptalk import Options, Pipeline, Speech


def state() -> dict[str, object]:
    """Every such setting by name, as text."""
    mask = os.umask(0)
    os.umask(mask)
    found = {
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch dtype": torch.get_default_dtype(),
        "torch grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch precision": (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
        "torch determinism": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "torch random numbers": sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "NumPy random numbers": sha256(str(np.random.get_state()).encode()).hexdigest(),
        "random numbers": hash(random.getstate()),
        "NumPy errors": np.geterr(),
        "NumPy printing": np.get_printoptions(),
        "OpenCV": (cv2.getNumThreads(), cv2.useOptimized()),
        "Pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        "warnings": [
            f for f in warnings.filters if f[2].__module__.split(".")[0] in ("builtins", "kptalk", "numpy", "PIL")
        ],
        "showwarning": warnings.showwarning,
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        **{f"variable {name}": value for name, value in os.environ.items()},
        "folder": os.getcwd(),
        "umask": mask,
        "locale": locale.setlocale(locale.LC_ALL),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, sys.getrecursionlimit()),
        "streams": (sys.stdout, sys.stderr, sys.stdin, [os.fstat(number)[:2] for number in range(3)]),
        "logging": (logging.root.handlers, logging.root.level, logging.lastResort, logging.getLogger("kptalk").level),
        "arguments": (sys.argv, sys.path),
        "threads": threading.active_count(),
    }
    return {name: str(value) for name, value in found.items()}


def changed(before: dict[str, object]) -> list[str]:
    """What is not as before, one line each."""
    now = state()
    names = sorted(set(before) | set(now))
    return [f"{name}: {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]


if __name__ == "__main__":
    first = state()
    pipeline = Pipeline.from_pretrained()
    sys.stdout.write("\n".join(changed(first)))
    hum = Speech.from_samples(0.1 * np.sin(np.arange(8000) / 20), 16_000)

    def animate(_: int) -> bytes:
        animation = pipeline.animate(sys.argv[1], hum, options=Options(framing="crop", size=64))
        animation.save(io.BytesIO())
        return b"".join(frame.tobytes() for frame in animation)

    with ThreadPoolExecutor(4) as pool:
        videos = list(pool.map(animate, range(4)))
    sys.stdout.write("\n".join([*changed(first), f"{len(set(videos))} video"]))
