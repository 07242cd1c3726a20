"""The jobs, in SQLite: the server adds and cancels them, the worker takes them and says how far they are.

Both processes have the database open. A row's files are in the folder of its id; the row is there after they are and
before they go, so a process may be killed at any time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ACTIVE = ("queued", "in_progress")
STATUSES = (*ACTIVE, "completed", "failed", "cancelled", "expired")
CRASHES = 2  # of the worker, with a job at work, after which the job is failed
KILLS = 50  # of the worker from outside, or of the server, with a job at work, after which the job is failed
BUSY = 10.0  # seconds to wait for the other process
SCHEMA = """
create table if not exists job (
    number integer primary key autoincrement, id text unique not null, owner text not null, status text not null,
    created real not null, started real, completed real, expires real,
    options text not null, face integer, portrait text not null, request text, request_digest text,
    progress integer not null default 0, frames integer not null default 0, expected integer, fps real,
    seconds real, size text, first_fragment real, spent real not null default 0,
    crashes integer not null default 0, kills integer not null default 0,
    viewers integer not null default 0, viewed_since real, code text, message text);
create unique index if not exists job_request on job (owner, request) where request is not null;
create index if not exists job_status on job (status);
create table if not exists portrait (
    id text primary key, owner text not null, created real not null, digest text not null, face integer,
    rotate text not null, result text, code text, message text);
create table if not exists total (name text primary key, value real not null);
"""


@dataclass(frozen=True)
class Job:
    """A row: what was asked for, how far it is, and what became of it.

    Attributes:
        number: jobs are made in this order.
        owner: whose key asked for it.
        status: one of ``STATUSES``.
        created, started, completed, expires: seconds since 1970.
        options: of the video, as ``Options.to_dict`` gives them.
        face: which of several, 1 is the leftmost.
        portrait: SHA-256 of the photo.
        request, request_digest: the client's own name of the request, and what the request was.
        progress: percent.
        frames, expected, fps: encoded so far, in all as far as one knows, and per second of video.
        seconds: of the video, once that is known.
        size: ``512x512``.
        first_fragment: seconds from the start of the work until the video could be watched.
        spent: seconds of work.
        crashes, kills: how often the worker ended while this was at work: by itself, or by others.
        viewers, viewed_since: connections that watch it, and when one first got bytes, by ``time.monotonic``.
        code, message: why it failed.
    """

    id: str
    owner: str
    options: dict[str, Any]
    portrait: str
    created: float
    number: int = 0
    status: str = "queued"
    started: float | None = None
    completed: float | None = None
    expires: float | None = None
    face: int | None = None
    request: str | None = None
    request_digest: str | None = None
    progress: int = 0
    frames: int = 0
    expected: int | None = None
    fps: float | None = None
    seconds: float | None = None
    size: str | None = None
    first_fragment: float | None = None
    spent: float = 0.0
    crashes: int = 0
    kills: int = 0
    viewers: int = 0
    viewed_since: float | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class PortraitRequest:
    """A photo in which faces are to be found; afterwards a ``result``, or a ``code`` and ``message``."""

    id: str
    owner: str
    created: float
    digest: str
    face: int | None = None
    rotate: str = "auto"
    result: dict[str, Any] | None = field(default=None)
    code: str | None = None
    message: str | None = None


class QueueFull(Exception):
    """No more jobs may wait."""


class Store:
    """The database of a folder; may be used from all threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        path.touch(0o600)  # for nobody else; what SQLite lays beside it is the same
        self._database = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.executescript(f"pragma journal_mode=wal; pragma synchronous=normal; {SCHEMA}")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    # Jobs, as the server sees them.

    def add(self, job: Job, waiting: int, waiting_per_owner: int | None = None) -> Job:
        """Put a job into the queue; the one of an earlier, equal request instead, where there is one.

        Raises:
            QueueFull: so many are waiting already, of all owners or of this one.
        """
        with self._transaction():
            if job.request is not None and (earlier := self.requested(job.owner, job.request)) is not None:
                return earlier
            counts = dict(self._rows("select owner, count(*) from job where status = 'queued' group by owner"))
            if sum(counts.values()) >= waiting:
                raise QueueFull(f"{waiting} videos are waiting already")
            if waiting_per_owner is not None and counts.get(job.owner, 0) >= waiting_per_owner:
                raise QueueFull(f"{waiting_per_owner} of your videos are waiting already")
            names = [each.name for each in fields(Job) if each.name != "number"]
            values = [json.dumps(job.options) if name == "options" else getattr(job, name) for name in names]
            marks = ", ".join("?" * len(names))
            self._rows(f"insert into job ({', '.join(names)}) values ({marks})", *values)
        found = self.get(job.id)
        assert found is not None
        return found

    def get(self, job: str, owner: str | None = None) -> Job | None:
        """A job by its id; None if there is none, or it is another owner's."""
        rows = self._rows("select * from job where id = ? and (? is null or owner = ?)", job, owner, owner)
        return _job(rows[0]) if rows else None

    def requested(self, owner: str, request: str) -> Job | None:
        """The job of an earlier request of this name."""
        rows = self._rows("select * from job where owner = ? and request = ?", owner, request)
        return _job(rows[0]) if rows else None

    def page(self, owner: str | None, limit: int, after: str | None, descending: bool) -> tuple[list[Job], bool]:
        """Some jobs in their order, from the one after ``after`` on, and whether there are more."""
        start = self.get(after, owner) if after else None
        sign, order = ("<", "desc") if descending else (">", "asc")
        rows = self._rows(
            f"select * from job where (? is null or owner = ?) and (? is null or number {sign} ?) "
            f"order by number {order} limit ?",
            owner,
            owner,
            *([start.number] * 2 if start else [None, None]),
            limit + 1,
        )
        return [_job(row) for row in rows[:limit]], len(rows) > limit

    def cancel(self, job: str) -> bool:
        """End a job that is not finished; whether it was one."""
        now = time.time()
        with self._transaction():
            return self._finish(job, "cancelled", None, None, now, now)

    def remove(self, job: str) -> None:
        """Forget a job."""
        self._rows("delete from job where id = ?", job)

    def expire(self, now: float) -> list[str]:
        """The ids of the jobs whose files are to go now; forgets those of before that were kept as long again."""
        with self._transaction():
            self._rows("delete from job where status = 'expired' and expires + (expires - completed) < ?", now)
            over = "expires < ? and status in ('completed', 'failed', 'cancelled')"
            rows = self._rows(f"update job set status = 'expired' where {over} returning id", now)
            return [row["id"] for row in rows]

    def clock_set(self, by: float, keep: float) -> None:
        """Somebody set the clock, ``by`` seconds forward, or back: what is kept stays as long, at most ``keep``."""
        by, now = max(by, 0.0), time.time()
        both = "completed = min(completed + ?, ?), expires = min(expires + ?, ?)"
        self._rows(f"update job set {both} where status != 'expired'", by, now, by, now + keep)
        self._rows("update portrait set created = min(created + ?, ?)", by, now)

    def viewed(self, job: str, change: int, first_bytes: bool = False) -> None:
        """Count a viewer that came (1) or left (-1); or say that one has got the first bytes."""
        if first_bytes:
            self._rows("update job set viewed_since = coalesce(viewed_since, ?) where id = ?", time.monotonic(), job)
        if change:
            self._rows("update job set viewers = max(0, viewers + ?) where id = ?", change, job)

    def counts(self) -> dict[str, int]:
        """Jobs by status."""
        found = dict(self._rows("select status, count(*) from job group by status"))
        return {status: found.get(status, 0) for status in STATUSES}

    def totals(self) -> dict[str, float]:
        """Sums since the folder was made, by name."""
        return dict(self._rows("select name, value from total"))

    # Jobs, as the worker sees them.

    def unfinished(self) -> list[Job]:
        """The jobs that wait or are being made, in their order."""
        return [_job(row) for row in self._rows(f"select * from job where status in {ACTIVE} order by number")]

    def update(self, job: str, **values: float | str | None) -> None:
        """Set columns of a job that is not finished."""
        names = ", ".join(f"{name} = ?" for name in values)
        self._rows(f"update job set {names} where id = ? and status in {ACTIVE}", *values.values(), job)

    def finish(self, job: str, keep: float, code: str | None = None, message: str | None = None) -> bool:
        """A job is completed, or with a code and message failed; whether it was not finished before."""
        now = time.time()
        with self._transaction():
            return self._finish(job, "failed" if code else "completed", code, message, now, now + keep)

    def requeue(self, culprit: str | None, killed: bool, keep: float) -> None:
        """The worker is gone: jobs at work wait again, from their start.

        Args:
            culprit: the job or photo at which it was at work, if any.
            killed: whether somebody else ended it; otherwise the culprit did. A job may do that ``CRASHES`` times, a
                photo once.
            keep: as in ``finish``.
        """
        with self._transaction():
            if culprit is not None and not killed:
                self._rows("update job set crashes = crashes + 1 where id = ?", culprit)
                asked = "update portrait set code = ?, message = ? where id = ? and result is null"
                self._rows(asked, "worker_crashed", "the worker ended while it looked at this photo", culprit)
            self._rows("update job set kills = kills + 1 where status = 'in_progress'")
            self._rows("update job set status = 'queued', progress = 0, frames = 0 where status = 'in_progress'")
            hopeless = self._rows(
                f"select id from job where status = 'queued' and (crashes >= {CRASHES} or kills >= {KILLS})"
            )
        for row in hopeless:
            self.finish(row["id"], keep, "worker_crashed", "the worker ended twice while it made this video")

    def forget_clients(self) -> None:
        """After a start of the server nobody watches, or waits for the faces of a photo."""
        self._rows("update portrait set code = 'gone', message = 'asked before' where result is null and code is null")
        self._rows("update job set viewers = 0, viewed_since = null where viewers > 0 or viewed_since is not null")

    # Portraits.

    def add_portrait(self, request: PortraitRequest) -> None:
        """Ask for the faces of a photo."""
        names = ("id", "owner", "created", "digest", "face", "rotate")
        values = (getattr(request, name) for name in names)
        self._rows(f"insert into portrait ({', '.join(names)}) values (?, ?, ?, ?, ?, ?)", *values)

    def portrait(self, portrait: str, owner: str | None = None) -> PortraitRequest | None:
        """A photo by its id; None if there is none, or it is another owner's."""
        rows = self._rows("select * from portrait where id = ? and (? is null or owner = ?)", portrait, owner, owner)
        return _portrait(rows[0]) if rows else None

    def next_portrait(self) -> PortraitRequest | None:
        """The photo that has waited longest to be looked at."""
        rows = self._rows("select * from portrait where result is null and code is null order by created limit 1")
        return _portrait(rows[0]) if rows else None

    def answer_portrait(
        self, portrait: str, result: Mapping[str, Any] | None = None, code: str | None = None, message: str = ""
    ) -> None:
        """The faces of a photo, or why it cannot be used."""
        text = None if result is None else json.dumps(result)
        self._rows("update portrait set result = ?, code = ?, message = ? where id = ?", text, code, message, portrait)

    def expire_portraits(self, before: float) -> list[str]:
        """Forget photos of before a time; their ids."""
        return [row["id"] for row in self._rows("delete from portrait where created < ? returning id", before)]

    def add_total(self, name: str, value: float) -> None:
        """Add to a sum."""
        self._rows(
            "insert into total values (?, ?) on conflict (name) do update set value = value + excluded.value",
            name,
            value,
        )

    def _finish(self, job: str, status: str, code: str | None, message: str | None, now: float, expires: float) -> bool:
        rows = self._rows(
            f"update job set status = ?, code = ?, message = ?, completed = ?, expires = ? "
            f"where id = ? and status in {ACTIVE} returning 1",
            *(status, code, message, now, expires, job),
        )
        if rows:
            self.add_total(f"videos_{status}", 1)
        return bool(rows)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("begin immediate")
            try:
                yield
                self._database.execute("commit")
            except BaseException:
                if self._database.in_transaction:  # a full disk may have ended it
                    self._database.execute("rollback")
                raise


def new_id(kind: str) -> str:
    """An id that nobody can guess."""
    return f"{kind}_{uuid.uuid4().hex}"


def _job(row: Mapping[str, Any]) -> Job:
    values = {name: row[name] for name in (each.name for each in fields(Job))}
    return Job(**values | {"options": json.loads(values["options"])})


def _portrait(row: Mapping[str, Any]) -> PortraitRequest:
    values = {name: row[name] for name in (each.name for each in fields(PortraitRequest))}
    return PortraitRequest(**values | {"result": json.loads(values["result"]) if values["result"] else None})
