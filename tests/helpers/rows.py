"""What workers of an engine are built of in tests; a row is (what to do, a value)."""

import os
import signal
import time
from pathlib import Path


def resident():
    """Megabytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def freed_in_pieces(megabytes):
    """So much memory taken and freed, with small pieces between that stay."""
    pieces = [(bytes([k % 256]) * 50_000, bytes([k % 256]) * 1000) for k in range(20 * megabytes)]
    return [small for _, small in pieces]


class Worker:
    """Counts what it is built for; its rows say what it does."""

    def __init__(self, folder=None):
        self.pins = []
        if folder is not None:
            (Path(folder) / f"built-{os.getpid()}").touch()

    def __call__(self, row):
        kind, value = row
        if kind == "raise":
            raise ValueError(f"row {value}")
        if kind == "wait":
            time.sleep(value)
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "die once" and not Path(value).exists():
            Path(value).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "touch":
            Path(value).touch()
        if kind == "free":
            return resident(), self.pins.append(freed_in_pieces(value))
        if kind == "lambda":
            return lambda: None
        return kind, value, os.getpid()


class Broken:
    def __init__(self):
        raise RuntimeError("no such model")


class Dying:
    def __init__(self):
        os._exit(3)
