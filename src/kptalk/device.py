"""Which device computes, and with how many threads. Torch is imported when it is asked: some workers do without it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kptalk.errors import OptionError

if TYPE_CHECKING:
    import torch

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
DEVICES = ("auto", "cpu", "cuda", "mps")
SIDE_BY_SIDE = 4  # at most, for each piece of work holds its own arrays


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        OptionError: no such device, or this machine or this build of torch does not have it.
    """
    import torch

    if name not in DEVICES:
        raise OptionError(f"device is {name!r}: give one of {', '.join(DEVICES)}")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, here in available.items() if here)
    if not available[name]:
        raise OptionError(f"device {name} is not available with torch {torch.__version__}: use cpu")
    return torch.device(name)


def usable_cores() -> int:
    """Cores this process may use: its affinity, or less where a cgroup limits its share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cores


def set_threads() -> int:
    """Choose the threads of torch, unless ``OMP_NUM_THREADS`` did, and as many for OpenCV; returns the number.

    They are the whole process's: for programs such as ``kptalk.cli`` to call once at the start, never for a library.
    Motion, drawing and encoding run side by side as it is. The networks here are small: more than four threads gain
    nothing, and on two shared cores two OpenMP threads that wait for each other by spinning were measured up to thirty
    times slower than one; OpenCV's took a tenth of the processor's time for nothing.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        cores = usable_cores()
        torch.set_num_threads(1 if cores <= 2 else min(4, cores // 2))
    import cv2  # training from packed clips does without it

    cv2.setNumThreads(torch.get_num_threads())
    return torch.get_num_threads()


def use_one_thread() -> None:
    """Let those of torch and OpenCV that are imported use one thread: for worker processes, which share the cores."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(1)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Processes that are started meanwhile let NumPy's sums run in one thread, unless the environment says how many.

    NumPy's library reads that once, when it is loaded, and rounds sums by the number of threads: a worker's numbers
    would not be those of the command line, which does the same at its start, or of a Ray worker.
    """
    said = BLAS_THREADS in os.environ
    os.environ.setdefault(BLAS_THREADS, "1")
    try:
        yield
    finally:
        if not said:
            del os.environ[BLAS_THREADS]


def release_memory() -> None:
    """Give the system back what has been freed; for processes that make one video after the other.

    glibc keeps what threads have freed in pieces, half as much again as a worker needs after a hundred videos of
    different sizes. This takes 5 ms. With other libraries of C nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def side_by_side() -> int:
    """How many pieces of work fit the cores at the same time, each in a Python thread of its own with torch's threads.

    Torch lets go of the interpreter while it computes. Pieces that never wait for each other fill the cores, even where
    other programs hold one now and then; OpenMP threads that share every operation do not (see ``set_threads``, which
    comes before). 1 where ``OMP_NUM_THREADS`` says how many threads there may be.
    """
    import torch

    if "OMP_NUM_THREADS" in os.environ:
        return 1
    return max(1, min(SIDE_BY_SIDE, usable_cores() // torch.get_num_threads()))
