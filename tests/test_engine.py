"""Rows over warm workers: order, failures, deaths, on this machine and on a Ray cluster."""

import ctypes
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from itertools import count, islice
from pathlib import Path

import pytest
from rows import Broken, Dying, Worker

from kptalk.cluster import Cluster
from kptalk.engine import map_rows
from kptalk.errors import MissingExtra, OptionError, WorkerDied


def run(build, rows, **options):
    return list(map_rows(build, rows, jobs=2, **options))


def test_results_failures_and_deaths(tmp_path):
    """In order, from workers built once each; a row that raises or kills its worker twice fails alone."""
    rows = [("wait", 0.3), *(("square", n) for n in range(6)), ("raise", 7), ("die", 8), ("lambda", 9)]
    rows += [("die once", str(tmp_path / "died")), ("last", 11)]
    done = run(partial(Worker, tmp_path), rows, ordered=True)
    assert [outcome.number for outcome in done] == list(range(12))
    assert [outcome.row for outcome in done] == rows
    good = [outcome for outcome in done if outcome.error is None]
    assert [outcome.result[:2] for outcome in good] == [row for row in rows if row[0] not in ("raise", "die", "lambda")]
    assert os.getpid() not in {outcome.result[2] for outcome in good}
    errors = {outcome.row[0]: outcome.error for outcome in done if outcome.error}
    assert str(errors["raise"]) == "row 7"
    assert isinstance(errors["die"], WorkerDied)
    assert "killed by signal 9, twice" in str(errors["die"])
    assert "lambda" in str(errors["lambda"])
    assert 3 <= len(list(tmp_path.glob("built-*"))) <= 2 + 3  # and one for each death


def test_workers_sum_in_one_thread_and_leave_the_program_alone(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    (told,) = run(partial(partial, os.getenv), ["OPENBLAS_NUM_THREADS"])
    assert told.result == "1"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_row_is_tried_as_often_as_is_said():
    (lost,) = run(Worker, [("die", 1)], tries=1)
    assert str(lost.error) == "the worker was killed by signal 9, once"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_a_row_has_freed_is_given_back():
    before, after = (outcome.result[0] for outcome in map_rows(Worker, [("free", 100)] * 2, jobs=1))
    assert after - before < 20


def test_results_come_as_they_are_ready_and_rows_are_taken_when_needed():
    taken = []

    def rows():
        for number in count():
            taken.append(number)
            yield ("wait", 1.0 if number == 0 else 0.0)

    outcomes = map_rows(Worker, rows(), jobs=2)
    first = [outcome.number for outcome in islice(outcomes, 5)]
    outcomes.close()
    assert first[0] == 1
    assert len(taken) < 12


def test_a_slow_row_holds_the_others_back_where_order_is_wanted():
    taken = []

    def rows():
        for number in range(400):
            taken.append(number)
            yield ("wait", 1.5 if number == 0 else 0.0)

    outcomes = map_rows(Worker, rows(), jobs=2, ordered=True)
    assert next(outcomes).number == 0
    assert len(taken) < 40
    assert [outcome.number for outcome in outcomes] == list(range(1, 400))


def test_workers_that_never_get_ready_are_given_up():
    with pytest.raises(RuntimeError, match="no such model"):
        run(Broken, [1])
    with pytest.raises(WorkerDied, match="ended with code 3"):
        run(Dying, [1])


def test_no_rows_need_no_workers():
    assert run(Broken, []) == []


@pytest.mark.parametrize("options", [{"engine": "slurm"}, {"jobs": 0}])
def test_options_without_sense(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        list(map_rows(Worker, [1], **options))


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kptalk\[cluster\]'"):
        list(map_rows(Worker, [1], engine="ray"))


PARENT = """
import sys
from rows import Worker
from kptalk.engine import map_rows
if __name__ == "__main__":
    for _ in map_rows(Worker, [("touch", sys.argv[1]), ("wait", 60), ("wait", 60)], jobs=2):
        pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_workers_end_with_their_parent(tmp_path):
    program, ready = tmp_path / "parent.py", tmp_path / "ready"
    program.write_text(PARENT)
    paths = os.pathsep.join([str(Path(__file__).parent / "helpers"), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, program, ready], env={**os.environ, "PYTHONPATH": paths})
    wait_for(ready.exists)
    workers = children(parent.pid)
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def wait_for(condition):
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_ray_cluster_does_the_same(ray_cluster, tmp_path):
    rows = [*(("square", n) for n in range(6)), ("raise", 6), ("die once", str(tmp_path / "died")), ("die", 8)]
    done = run(Worker, rows, engine="ray", ordered=True)
    assert [outcome.number for outcome in done] == list(range(9))
    assert [outcome.result[:2] for outcome in done[:6]] == rows[:6]
    assert str(done[6].error) == "row 6"
    assert done[7].result[:2] == rows[7]
    assert isinstance(done[8].error, WorkerDied)
    with pytest.raises(RuntimeError, match="no such model"):
        run(Broken, [1], engine="ray")


@pytest.mark.slow
def test_a_node_that_is_lost_loses_no_row(ray_cluster, tmp_path):
    node = ray_cluster.add_node(num_cpus=2)
    rows = [("wait", 0.4)] * 16
    outcomes = map_rows(Worker, rows, engine="ray", jobs=4)
    done = [next(outcomes)]
    ray_cluster.remove_node(node)
    done += list(outcomes)
    assert sorted(outcome.number for outcome in done) == list(range(16))
    assert [outcome.error for outcome in done] == [None] * 16


@pytest.mark.slow
def test_every_machine_of_a_cluster_is_asked(ray_cluster):
    with Cluster() as machines:
        assert not machines.ours
        assert machines.count("CPU") >= 2
        assert machines.everywhere(os.getpid) != []
        assert os.getpid() not in machines.everywhere(os.getpid)


@pytest.mark.parametrize(
    ("address", "job", "named"), [(None, "", None), ("auto", "", "auto"), (None, "[::1]:1", "::1")]
)
def test_a_cluster_that_has_died_here_is_not_waited_for(address, job, named, monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    began = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **given: began.append(given["address"]))
    monkeypatch.setenv("RAY_ADDRESS", job)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(OptionError, match=f"{named}.*: no Ray cluster") if named else nullcontext():
        Cluster(address)
    assert began == ([] if named else ["local"])


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "no host:x"])
def test_an_address_where_no_cluster_is(address, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delattr(ray, "init")  # which waits for more than a minute
    with pytest.raises(OptionError, match="no Ray cluster"):
        list(map_rows(Worker, [1], engine="ray", address=address))
