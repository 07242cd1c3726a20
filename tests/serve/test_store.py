"""The jobs' database: order, bounds, ends, restarts, expiry; two processes at once."""

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from kptalk.serve.store import CRASHES, KILLS, Job, PortraitRequest, QueueFull, Store, new_id


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "jobs.sqlite")
    yield found
    found.close()


def new(store, **values):
    job = Job(new_id("video"), "", {"seed": 3}, "digest", time.time())
    return store.add(replace(job, **values), 100)


def test_a_job_is_kept_as_it_is(store, tmp_path):
    job = new(store, face=2, owner="me")
    again = Store(tmp_path / "jobs.sqlite")
    assert again.get(job.id) == job
    assert (job.options, job.face, job.status, job.number) == ({"seed": 3}, 2, "queued", 1)
    assert again.get(job.id, "you") is None
    again.close()


def test_ids_cannot_be_guessed():
    ids = {new_id("video") for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == len("video_") + 32 for each in ids)


def test_a_finished_job_changes_no_more(store):
    job = new(store)
    assert store.cancel(job.id)
    assert not store.finish(job.id, 10)
    assert not store.cancel(job.id)
    store.update(job.id, progress=50)
    assert (store.get(job.id).status, store.get(job.id).progress) == ("cancelled", 0)


def test_jobs_at_work_wait_again_after_a_restart(store):
    at_work, waiting, done = (new(store) for _ in range(3))
    store.update(at_work.id, status="in_progress", progress=40, frames=10)
    store.finish(done.id, 10)
    store.viewed(at_work.id, 1, first_bytes=True)
    store.requeue(None, killed=True, keep=10)
    store.add_portrait(PortraitRequest("p", "", 1.0, "digest"))
    store.forget_clients()
    assert store.next_portrait() is None
    found = store.get(at_work.id)
    assert (found.status, found.progress, found.frames, found.kills, found.crashes) == ("queued", 0, 0, 1, 0)
    assert (found.viewers, found.viewed_since) == (0, None)
    assert (store.get(waiting.id).kills, store.get(done.id).status) == (0, "completed")
    assert [job.id for job in store.unfinished()] == [at_work.id, waiting.id]


def test_a_job_fails_by_name_at_the_second_crash_and_only_it(store):
    guilty, beside = new(store), new(store)
    for crash in range(CRASHES):
        assert store.get(guilty.id).status == "queued", crash
        for job in (guilty, beside):
            store.update(job.id, status="in_progress")
        store.requeue(guilty.id, killed=False, keep=10)
    found = store.get(guilty.id)
    assert (found.status, found.code) == ("failed", "worker_crashed")
    assert store.get(beside.id).status == "queued"


def test_being_killed_from_outside_is_no_fault_but_has_an_end(store):
    job = new(store)
    for kill in range(KILLS):
        assert store.get(job.id).status == "queued", kill
        store.update(job.id, status="in_progress")
        store.requeue(job.id, killed=True, keep=10)
    assert store.get(job.id).status == "failed"


def test_files_go_at_their_time_and_the_row_after_as_long_again(store):
    job, young, unfinished = (new(store) for _ in range(3))
    store.finish(job.id, 10.0)
    store.finish(young.id, 1000.0)
    now = time.time()
    assert store.expire(now + 9) == []
    assert store.expire(now + 11) == [job.id]
    assert (store.get(job.id).status, store.expire(now + 12)) == ("expired", [])
    store.expire(now + 21)
    assert store.get(job.id) is None
    assert store.get(unfinished.id).status == "queued"


@pytest.mark.parametrize("statement", ["insert", "commit"])
def test_after_a_full_disk_it_takes_jobs_again(store, statement, monkeypatch):
    """Whether SQLite finds it out while it writes, or not before the end of a transaction."""
    database, full = store._database, sqlite3.OperationalError("database or disk is full")

    class Full:
        in_transaction = property(lambda self: database.in_transaction)

        def execute(self, query, *values):
            if query.startswith(statement):
                if statement == "insert":
                    database.execute("rollback")  # as SQLite does
                raise full
            return database.execute(query, *values)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_database", Full())
        with pytest.raises(sqlite3.OperationalError, match="full"):
            new(store)
    assert store.get(new(store).id).status == "queued"


def test_portraits_are_answered_in_order_and_expire(store):
    for name in ("b", "a"):
        store.add_portrait(PortraitRequest(name, "me", {"b": 1.0, "a": 2.0}[name], "digest", 2, "no"))
    first = store.next_portrait()
    assert (first.id, first.face, first.rotate) == ("b", 2, "no")
    store.answer_portrait("b", {"face": 1})
    assert store.portrait("b").result == {"face": 1}
    assert store.portrait("b", "you") is None
    store.answer_portrait("a", code="face_not_found", message="none")
    assert store.next_portrait() is None
    assert store.expire_portraits(1.5) == ["b"]
    assert store.portrait("b") is None


def test_the_queue_is_counted_with_the_job(store):
    new(store, owner="a")
    with pytest.raises(QueueFull, match="1 videos are waiting"):
        store.add(Job("x", "b", {}, "", 0.0), 1)
    with pytest.raises(QueueFull, match="1 of your videos"):
        store.add(Job("x", "a", {}, "", 0.0), 9, 1)
    assert store.add(Job("x", "b", {}, "", 0.0), 9, 1).id == "x"
    assert store.get("x") is not None


WRITE = """
import sys
from pathlib import Path
from kptalk.serve.store import Store
store = Store(Path(sys.argv[1]))
for k in range(300):
    store.update(sys.argv[2], frames=k)
"""


def test_two_processes_write_at_the_same_time(store, tmp_path):
    job = new(store)
    argv = [sys.executable, "-c", WRITE, tmp_path / "jobs.sqlite", job.id]
    with subprocess.Popen(argv) as other:
        while other.poll() is None:
            store.viewed(job.id, 1)
            store.get(job.id)
    assert other.returncode == 0
    assert store.get(job.id).frames == 299
