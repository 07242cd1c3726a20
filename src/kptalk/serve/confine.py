"""Limits of the processes that read what strangers send, set by the system and not to be undone.

What is not there on a system is left out: Windows has none of it, macOS no limit of memory and no filter.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

from kptalk.device import usable_cores
from kptalk.serve.system_calls import forbid, forbid_privileges

FILE_BYTES, FILE_BYTES_PER_SECOND = 1 << 30, 16 << 20  # more than the database, or a video of so many seconds, has
OPEN_FILES = 256  # beyond those that are open now
logger = logging.getLogger(__name__)


def confine(memory_bytes: int, seconds: float, *, alone: bool = True) -> None:
    """Fence this process in; called once, when its models are loaded.

    No core dumps, which hold photos; no more memory than it has now and ``memory_bytes``: what asks for more gets a
    MemoryError; no file larger than a video of so many seconds may be; at most ``OPEN_FILES`` more open files; no more
    rights, no other programs, no connections. A process that is not ``alone``, as Ray's are not, may open as many files
    as it likes, start programs and connect.
    """
    try:
        import resource
    except ImportError:
        return
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES + int(seconds * FILE_BYTES_PER_SECOND))
    with suppress(OSError):
        found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found is not None:
            _limit(resource.RLIMIT_DATA, int(found[1]) * 1024 + memory_bytes)
    forbid_privileges()
    if alone:
        with suppress(OSError):
            _limit(resource.RLIMIT_NOFILE, len(os.listdir("/dev/fd")) + OPEN_FILES)
    if not forbid(programs_and_network=alone) and sys.platform == "linux":
        logger.warning("system calls of a process that reads uploads are not limited: libseccomp is not installed")


def allow_seconds(seconds: float) -> None:
    """Let this process compute for so many seconds more, on each core; after that the system ends it.

    It is what ends a decoder that never returns, also where there is no server left that would miss it.
    """
    try:
        import resource
    except ImportError:
        return
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    with suppress(OSError, ValueError):
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = int(spent + seconds * usable_cores()) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _limit(what: int, most: int) -> None:
    """Set a limit for good, unless a lower one is set."""
    import resource

    with suppress(OSError, ValueError):
        lowest = min([most, *(limit for limit in resource.getrlimit(what) if limit != resource.RLIM_INFINITY)])
        resource.setrlimit(what, (lowest, lowest))
