"""Limits of the processes that read what strangers send, set by the system and not to be undone."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path


def confine(memory_bytes: int) -> None:
    """Give this process no more than so much memory beyond what it has now, and no core dumps, which hold photos.

    What asks for more gets a MemoryError. Where the system has no such limits (Windows; memory: all but Linux), nothing
    happens.
    """
    try:
        import resource
    except ImportError:
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found is not None:
            limit = int(found[1]) * 1024 + memory_bytes
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
