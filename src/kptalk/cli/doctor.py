"""``kptalk doctor``: looks whether this installation can do its work."""

import platform
import time
from collections.abc import Iterator
from importlib.metadata import Distribution
from typing import NamedTuple

from kptalk.device import pick_device, set_threads, usable_cores
from kptalk.errors import KptalkError
from kptalk.face.landmarks import FaceMesh
from kptalk.methods.trial import hum, plain_portrait
from kptalk.pipeline import Pipeline
from kptalk.version import __version__

PACKAGES = ("torch", "numpy", "scipy", "av", "pillow", "opencv-python-headless", "safetensors", "huggingface_hub")


class Finding(NamedTuple):
    """One thing looked at: ``what``, whether it is ``ok``, and the ``detail`` to print."""

    what: str
    ok: bool
    detail: str


def examine() -> Iterator[Finding]:
    """Versions, device, threads, face finder, embedded weights, and one second drawn and timed."""
    yield Finding("kptalk", True, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield _packages()
    yield Finding("device", True, f"{pick_device()}, {usable_cores()} usable cores, torch uses {set_threads()} threads")
    yield _face_finder()
    started = time.perf_counter()
    try:
        pipeline = Pipeline.from_pretrained("embedded")
    except KptalkError as error:
        yield Finding("embedded weights", False, str(error))
        return
    yield Finding("embedded weights", True, f"whole, loaded in {time.perf_counter() - started:.1f} s")
    yield _one_second(pipeline)


def _packages() -> Finding:
    installed = {name: found.version for name in PACKAGES for found in Distribution.discover(name=name)}
    missing = [name for name in PACKAGES if name not in installed]
    detail = ", ".join(map(" ".join, installed.items())) + (f"; missing: {', '.join(missing)}" if missing else "")
    return Finding("packages", not missing, detail)


def _face_finder() -> Finding:
    """Read the face networks that come with the package."""
    started = time.perf_counter()
    try:
        with FaceMesh():
            return Finding("face finder", True, f"started in {time.perf_counter() - started:.1f} s")
    except KptalkError as error:
        return Finding("face finder", False, str(error))


def _one_second(pipeline: Pipeline) -> Finding:
    """Draw one second of a hum on a plain picture."""
    started = time.perf_counter()
    try:
        frames = sum(1 for _ in pipeline.stream(plain_portrait(), hum(1)))
    except KptalkError as error:
        return Finding("one second drawn", False, str(error))
    seconds = time.perf_counter() - started
    return Finding("one second drawn", frames == 25, f"{frames} frames in {seconds:.1f} s")
