"""Synthetic evaluations for the tests of reports."""

import math
from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console

from kptalk.evaluate.metric import MetricSpec
from kptalk.evaluate.result import REAL, Clip, ClipResult, Evaluation, MethodResult, Tracks

NAN = math.nan
PULL = "kptalk weights pull syncnet"
COLUMNS = (
    MetricSpec("lse_c", "LSE-C", "", "higher", "Confidence of SyncNet."),
    MetricSpec("lse_d", "LSE-D", "", "lower", "Distance of SyncNet."),
    MetricSpec("up", "Correlation", "", "higher", "More is better."),
    MetricSpec("down", "LMD", "% of face", "lower", "Less is better."),
    MetricSpec("pose_std", "Diversity", "degrees", "real", "Standard deviation of the head's angles."),
    MetricSpec("fid", "FID", "", "lower", "Over all clips."),
    MetricSpec("fps", "FPS", "frames/s", "higher", "Frames per second."),
)
ODD = (
    '<script src="http://x.y/z.js">',
    "a&b.mp4",
    "$\\frac{x$.mp4",
    "名前.mp4",
    "[bold]x[/bold]",
    "bad\udcff\n\x1b[31m.mp4",
)


def tracks(frames=60, seed=0, gap=0):
    rng = np.random.default_rng(seed)
    opening = rng.random(frames).astype(np.float32) * 0.1
    rotation = rng.normal(0, 5, (frames, 3)).astype(np.float32)
    opening[:gap], rotation[:gap] = NAN, NAN
    heat = rng.random((64, 64)).astype(np.float32) * 9
    return Tracks(opening, rotation, heat, rng.integers(0, 256, (8, 128, 128, 3), np.uint8))


def evaluation(names=(REAL, "ours"), clips=("a.mp4", "b.mp4", "c.mp4"), values=None, frames=60):
    """``values``: (method, clip) to numbers that replace the usual ones."""
    listed = tuple(Clip(name, f"{place:064x}", frames) for place, name in enumerate(clips))
    methods = []
    for m, method in enumerate(names):
        results = []
        for c, clip in enumerate(clips):
            own = {"up": 0.9 - 0.1 * m + 0.01 * c, "down": 2.0 * m, "pose_std": 3 + m, "fps": 30.0 / m if m else NAN}
            own |= (values or {}).get((method, clip), {})
            results.append(ClipResult(clip, f"{100 * m + c:064x}", own, frames, 0, (), tracks(frames, 10 * m + c)))
        methods.append(MethodResult(method, tuple(results), {"fid": 12.5 * m}))
    why = f"weights are not here: {PULL}"
    return Evaluation(
        COLUMNS,
        listed,
        tuple(methods),
        {"lse_c": why, "lse_d": why},
        "kptalk evaluate --real R --generated G",
        7,
        {"kptalk": "1.2.3"},
        {"inception": "f" * 64},
    )


def with_method(whole, place, **changes):
    methods = list(whole.methods)
    methods[place] = replace(methods[place], **changes)
    return replace(whole, methods=tuple(methods))


def with_clip(whole, method, clip, **changes):
    results = list(whole.methods[method].clips)
    results[clip] = replace(results[clip], **changes)
    return with_method(whole, method, clips=tuple(results))


def drawn(renderable, width=120):
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()
