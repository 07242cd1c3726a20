"""Thousands of videos from a table of jobs, on this machine or on a Ray cluster; see ``run_batch``."""

from kptalk.batch.jobs import cross
from kptalk.batch.run import Progress, run_batch

__all__ = ["Progress", "cross", "run_batch"]
