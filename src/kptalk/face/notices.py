"""What MediaPipe's C++ threads write to file descriptor 2 while a graph starts and at its first face.

MediaPipe 0.10 has no switch for them: GLOG_minloglevel, TF_CPP_MIN_LOG_LEVEL and absl's verbosity change nothing.
The descriptor belongs to the whole process, so the library leaves it alone unless the program asks for silence.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_lock = RLock()
_silent = False


@contextmanager
def silenced_notices() -> Iterator[None]:
    """Throw the notices away meanwhile, and all else that is written to file descriptor 2 at those moments.

    For programs that own their process, such as ``kptalk.cli``; no library may use it.
    """
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


@contextmanager
def expected_notices() -> Iterator[None]:
    """Marks the moments at which notices come; of several threads in need of silence one goes after the other."""
    if not _silent:
        yield
        return
    with _lock, open(os.devnull, "wb") as null:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
