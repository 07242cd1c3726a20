"""Whose turn it is: which jobs the worker has open, and which of them it works on next."""

from collections.abc import Collection, Mapping, Sequence

from kptalk.serve.store import Job

COMFORT = 4.0  # seconds of video ahead of its viewer, after which a job lets others work
PATIENCE = 2.0  # seconds that an open job waits at most for its turn


def to_open(jobs: Sequence[Job], opened: Collection[str], streams: int) -> Job | None:
    """The job that is to be begun now, if any.

    One that nobody watches is made at a time, in the order in which they came, and beside it ``streams`` that are
    watched. A job at whose work the worker has crashed is made alone.

    Args:
        jobs: all that are not finished, in their order.
        opened: the ids of those that are being made.
        streams: how many that are watched may be made at the same time.
    """
    suspects = [job for job in jobs if job.crashes]
    if suspects:
        return None if opened else suspects[0]
    unviewed = sum(job.id in opened and not job.viewers for job in jobs)
    viewed = sum(job.id in opened and job.viewers > 0 for job in jobs)
    for job in jobs:
        if job.id not in opened and (viewed < streams if job.viewers else unviewed < 1):
            return job
    return None


def next_turn(jobs: Sequence[Job], last: Mapping[str, float], now: float) -> Job:
    """The open job that is worked on next: the one that is least ahead of its viewer, unless one has waited for long.

    Args:
        jobs: those that are being made, at least one.
        last: when each of them was worked on, by its id.
        now: as in ``last`` and ``viewed_since``, by ``time.monotonic``, which is the same in all processes.
    """
    longest = min(jobs, key=lambda job: last.get(job.id, 0.0))
    if now - last.get(longest.id, now) > PATIENCE:
        return longest
    return min(jobs, key=lambda job: (ahead(job, now), last.get(job.id, 0)))


def ahead(job: Job, now: float) -> float:
    """Seconds of video that a job is ahead of who watches it; ``COMFORT`` where nobody does."""
    if not job.viewers:
        return COMFORT
    played = 0.0 if job.viewed_since is None else now - job.viewed_since
    return job.frames / (job.fps or 25.0) - played
