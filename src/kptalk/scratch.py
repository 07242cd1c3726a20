"""Temporary folders: removed with the work, and after a kill by whoever makes the next one."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from kptalk.files import lock_file

PREFIX, LOCK = "kptalk-", ".lock"
YOUNG = 60.0  # seconds in which a folder's process has locked it


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder among the system's temporary files, for this process alone.

    People's photos and voices lie there, so those of processes that were killed are removed first.

    Raises:
        OSError: it cannot be made.
    """
    _remove_strays()
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        lock: FileIO | None = None
        with suppress(OSError):  # without locks the folder stays when the process is killed
            lock = lock_file(Path(name) / LOCK)
        try:
            yield Path(name)
        finally:
            if lock is not None:
                lock.close()


def _remove_strays() -> None:
    for path in Path(gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # it is at work, or somebody else's
            if time.time() - path.stat().st_mtime > YOUNG:
                lock_file(path).close()
                shutil.rmtree(path.parent, ignore_errors=True)
