"""The process that is started, watched, and started again."""

import os
import signal
import sqlite3
import time
from dataclasses import replace

import pytest
import worker_stand_ins

from kptalk.serve import supervisor
from kptalk.serve.settings import Settings
from kptalk.serve.store import Job, PortraitRequest, Store, new_id
from kptalk.serve.supervisor import WorkerProcess


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A supervisor of stand-ins, and the store."""
    monkeypatch.setattr(supervisor, "main", worker_stand_ins.work)
    store = Store(tmp_path / "jobs.sqlite")
    workers = WorkerProcess(Settings(tmp_path, stall_seconds=1.0), store, worker_stand_ins.work)
    workers.start()
    yield workers, store
    workers.stop()
    store.close()
    assert workers.pid is None


def add(store, seed=0):
    job = store.add(Job(new_id("video"), "", {"seed": seed}, "", time.time()), 100)
    return lambda: store.get(job.id)


def test_a_killed_worker_is_started_again_and_the_job_is_made(running):
    workers, store = running
    until(lambda: workers.ready)
    first = workers.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: workers.restarts == 1 and workers.ready)
    assert workers.pid != first
    job = add(store)
    workers.wake()
    until(lambda: job().status == "completed")


@pytest.mark.parametrize(("seed", "how"), [(1, "a segmentation fault"), (2, "hanging"), (3, "an exit")])
def test_a_job_that_ends_the_worker_twice_fails_and_others_go_on(running, seed, how):
    workers, store = running
    guilty, other = add(store, seed), add(store)
    until(lambda: guilty().status == "failed" and other().status == "completed")
    assert (guilty().code, guilty().crashes, workers.restarts) == ("worker_crashed", 2, 2)
    assert "/" not in guilty().message


def test_a_photo_that_ends_the_worker_is_not_looked_at_again(running):
    workers, store = running
    for face in (1, 5):
        store.add_portrait(PortraitRequest(f"portrait_{face}", "", float(face), "digest", face))
    until(lambda: store.portrait("portrait_5").result is not None)
    assert store.portrait("portrait_1").code == "worker_crashed"
    assert workers.restarts == 1


def test_a_kill_is_nobody_s_fault_unless_memory_was_short(running, monkeypatch):
    workers, store = running
    kills = []
    monkeypatch.setattr(supervisor, "_kills_for_memory", lambda: len(kills))
    until(lambda: workers.ready)
    job = add(store, 4)
    until(lambda: job().kills >= 3)
    assert job().crashes == 0
    monkeypatch.setattr(supervisor, "_kills_for_memory", lambda: kills.append(0) or len(kills))
    until(lambda: job().status == "failed")
    assert job().code == "worker_crashed"


def test_a_full_disk_does_not_end_the_watch(running, monkeypatch):
    workers, store = running
    requeue, tries = store.requeue, []

    def full(*arguments):
        tries.append(arguments)
        if len(tries) < 3:
            raise sqlite3.OperationalError("database or disk is full")
        requeue(*arguments)

    monkeypatch.setattr(supervisor, "NO_ROOM", 0.01)
    monkeypatch.setattr(store, "requeue", full)
    until(lambda: workers.ready)
    os.kill(workers.pid, signal.SIGKILL)
    until(lambda: len(tries) == 3 and workers.ready)
    job = add(store)
    until(lambda: job().status == "completed")


def test_what_never_gets_ready_is_not_started_without_a_pause(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "main", worker_stand_ins.never_ready)
    monkeypatch.setattr(supervisor, "PAUSES", (0.0, 60.0))
    store = Store(tmp_path / "jobs.sqlite")
    workers = WorkerProcess(Settings(tmp_path), store, worker_stand_ins.work)
    workers.start()
    until(lambda: workers.restarts == 1)
    time.sleep(0.2)
    assert (workers.restarts, workers.ready) == (1, False)
    workers.stop()
    store.close()


def test_memory_kills_are_counted_where_linux_counts_them():
    assert supervisor._kills_for_memory() >= 0
    assert replace(Settings(None), streams=2).streams == 2


def test_a_worker_that_is_just_being_started_is_stopped(running):
    workers, _ = running
    began = time.monotonic()
    workers.stop()
    assert workers.pid is None
    assert time.monotonic() - began < 5
