"""Which job is begun, and which is worked on next."""

from dataclasses import replace

from kptalk.serve.store import Job
from kptalk.serve.turns import COMFORT, PATIENCE, next_turn, to_open

NOW = 1000.0


def job(name, **values):
    return replace(Job(name, "", {}, "", NOW - 100, fps=25.0), **values)


def test_one_that_nobody_watches_is_made_at_a_time():
    jobs = [job("a"), job("b")]
    assert to_open(jobs, [], 4).id == "a"
    assert to_open(jobs, ["a"], 4) is None


def test_watched_ones_are_made_beside_it_but_no_more_than_allowed():
    jobs = [job("a"), job("b"), *(job(name, viewers=1) for name in "cdef")]
    assert to_open(jobs, ["a"], 3).id == "c"
    assert to_open(jobs, ["a", "c"], 3).id == "d"
    assert to_open(jobs, ["a", "c", "d", "e"], 3) is None
    assert to_open(jobs, ["c", "d", "e"], 3).id == "a"


def test_a_job_with_which_the_worker_crashed_is_made_alone():
    jobs = [job("a"), job("b", crashes=1), job("c", viewers=1)]
    assert to_open(jobs, [], 4).id == "b"
    assert to_open(jobs, ["a"], 4) is None
    assert to_open(jobs, ["b"], 4) is None


def test_the_one_least_ahead_of_its_viewer_is_next():
    early = job("early", viewers=1, frames=50, viewed_since=NOW - 0.5)  # 1.5 s ahead
    late = job("late", viewers=1, frames=250, viewed_since=NOW - 9.5)  # 0.5 s ahead
    new = job("new", viewers=2)
    last = dict.fromkeys(("early", "late", "new"), NOW)
    assert next_turn([early, late], last, NOW).id == "late"
    assert next_turn([early, late, new], last, NOW).id == "new"


def test_a_job_nobody_watches_works_when_viewers_have_enough():
    batch = job("batch", frames=9)
    last = {"batch": NOW, "watched": NOW}
    watched = job("watched", viewers=1, viewed_since=NOW)
    few, many = (replace(watched, frames=round(25 * seconds)) for seconds in (COMFORT - 1, COMFORT + 1))
    assert next_turn([batch, few], last, NOW).id == "watched"
    assert next_turn([batch, many], last, NOW).id == "batch"


def test_nobody_waits_for_ever():
    batch, watched = job("batch"), job("watched", viewers=1, viewed_since=NOW - 50)
    last = {"batch": NOW - PATIENCE - 0.1, "watched": NOW}
    assert next_turn([batch, watched], last, NOW).id == "batch"
    assert next_turn([batch, watched], last | {"batch": NOW}, NOW).id == "watched"


def test_equals_take_turns():
    jobs = [job("a"), job("b")]
    assert next_turn(jobs, {"a": NOW, "b": NOW - 1}, NOW).id == "b"
    assert next_turn(jobs, {"a": NOW - 1, "b": NOW}, NOW).id == "a"
