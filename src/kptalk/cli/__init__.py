"""The command line: parse and print, nothing else.

The ``kptalk`` script imports this file before all others: it sees to signals and says the first word, and only then
imports what takes long.
"""

import atexit
import gc
import os
import sys

from kptalk.cli import process
from kptalk.version import __version__

LONG_WORK = {"animate", "batch", "reenact", "motion", "prepare", "train", "evaluate", "doctor"}


def main() -> None:
    """Run the command line; errors become one line on stderr and an exit code."""
    atexit.register(process.ignore)
    try:
        with process.handled():
            sys.exit(_run())
    except BaseException as error:
        # A signal's exception may come back as another one, for example from within an import.
        if process.caught() or isinstance(error, process.Stopped | KeyboardInterrupt):
            process.stop()
            sys.exit(process.INTERRUPTED)
        raise


def _run() -> int:
    # NumPy, which is imported later, would start threads that wait by spinning; its arrays here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(100_000)  # of a million objects that are made at the start nearly all stay
    says = _greet()
    try:
        from kptalk.cli.app import run
    finally:
        if says:
            sys.stderr.write("\r\x1b[K")
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return process.BROKEN_PIPE
    return code


def _greet() -> bool:
    """Say on a terminal that the program has started, where it will be at work for long; whether it did."""
    words = set(sys.argv[1:])
    silent = words & {"--help", "--quiet"} or "_KPTALK_COMPLETE" in os.environ
    if not words & LONG_WORK or silent or not sys.stderr.isatty() or os.environ.get("TERM") in (None, "dumb"):
        return False
    sys.stderr.write(f"kptalk {__version__}: starting")
    sys.stderr.flush()
    return True
