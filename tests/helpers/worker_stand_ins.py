"""Workers that crash, hang or do nothing, in processes that start at once; they import no model."""

import os
import signal
import time

from kptalk.serve.store import Store


def work(settings, server, _):
    """Finishes every job, unless its options' seed says how the process is to end."""
    store = Store(settings.folder / "jobs.sqlite")
    server.send("ready")
    while not server.poll(0.01) or server.recv() != "stop":
        server.send("")
        if (photo := store.next_portrait()) is not None:
            server.send(photo.id)
            misbehave(photo.face)
            store.answer_portrait(photo.id, {"face": 1})
        for job in store.unfinished():
            store.update(job.id, status="in_progress")
            server.send(job.id)
            misbehave(job.options.get("seed"))
            store.finish(job.id, 60)


def misbehave(seed):
    if seed == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == 2:
        time.sleep(60)
    if seed == 3:
        os._exit(7)
    if seed == 4:
        os.kill(os.getpid(), signal.SIGKILL)


def never_ready(settings, server, _):
    """Ends at once."""
