"""The program as a process: when it began, its exit codes, and how a signal ends it.

At Ctrl-C and SIGTERM it says one line on stderr and is gone within two seconds, whatever it is doing.

Python calls a signal's handler between two instructions of the main thread, which may be inside a network or the import
of a library for long. So a thread waits beside it: it ends the program where the main thread has not done so after
``GRACE`` seconds, and at once at a second signal. This file is imported before all others, so it imports little itself.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
CODES = {signal.SIGINT.value: 130, signal.SIGTERM.value: 143}  # exit codes after signals, as shells have them
GRACE = 1.0  # seconds
NOTHING = "nothing was written"


class Stopped(BaseException):
    """Ctrl-C or SIGTERM. No KeyboardInterrupt, which the parser would take for its own."""


class _State:
    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.outcome: Callable[[], str] = lambda: NOTHING  # what there is of the file that is being written
        self.caught: int | None = None  # the signal
        self.said = False


_state = _State()
_lock = threading.RLock()  # a second signal may come while its thread holds it


@contextmanager
def handled() -> Iterator[None]:
    """Meanwhile both signals raise ``Stopped`` in the main thread, unless the program was started to ignore them."""
    global _state
    _state = _State()
    before = {number: signal.getsignal(number) for number in CODES}
    in_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    wanted = [number for number in before if in_main and before[number] is not signal.SIG_IGN]
    for number in wanted:
        signal.signal(number, _on_signal)
    writer = _start_watching() if wanted and sys.platform != "win32" else None
    try:
        yield
    finally:
        if _state.caught is None:
            for number in wanted:
                signal.signal(number, before[number])
            if writer is not None:
                signal.set_wakeup_fd(-1)
                os.close(writer)


@contextmanager
def outcome(describe: Callable[[], str]) -> Iterator[None]:
    """Meanwhile ``describe`` says what there is of a file that is being written."""
    before, _state.outcome = _state.outcome, describe
    yield
    _state.outcome = before  # not after an exception: there the message is still to come


def began() -> float:
    """When the command began, by ``time.perf_counter``."""
    return _state.began


def ignore() -> None:
    """Where the exit code is decided, a signal may no longer change it."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)


def caught() -> bool:
    """Whether a signal has come, whatever became of its exception."""
    return _state.caught is not None


def stop() -> None:
    """Say that the program was stopped, and after a signal end the process without waiting for its threads."""
    _say()
    if _state.caught is not None:
        os._exit(CODES[_state.caught])


def _say() -> None:
    with _lock:
        if _state.said:
            return
        _state.said = _state.caught is not None
        # On a terminal there may be a word without an end of line, and the bars hide the cursor.
        tidy = "\r\x1b[K\x1b[?25h" if os.isatty(2) and os.environ.get("TERM") != "dumb" else ""
        text = f"{tidy}kptalk: stopped: {_state.outcome()}\n"
        with suppress(OSError):
            os.write(2, text.encode(sys.stderr.encoding or "utf-8", "backslashreplace"))


def _on_signal(number: int, _: object) -> None:
    if _state.caught is not None:
        stop()
    _state.caught = number
    sys.unraisablehook = lambda _: None  # a callback that cannot pass it on would print a traceback
    threading.excepthook = lambda _: None
    raise Stopped


def _start_watching() -> int:
    """Start the thread; Python writes the number of each signal to the descriptor that is returned."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    return writer


def _watch(reader: int) -> None:
    while (number := os.read(reader, 1)) and number[0] not in CODES:
        pass
    if number:
        select.select([reader], [], [], GRACE)
        _state.caught = number[0]
        stop()
    os.close(reader)
