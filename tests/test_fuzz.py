"""A minute of damaged files of all kinds, in the same order in every run; and what the program finds that does it."""

import importlib.util
import multiprocessing
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kptalk.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def fuzz():
    """The program, as a module; it imports what lies beside it."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks/fuzz.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "benchmarks"))
    del sys.modules["fuzz"]


def raising(error):
    def read(path):
        raise error

    return read


def test_the_program_tells_faults_from_clean_errors(fuzz):
    def outcome(*readers):
        return fuzz._attempt(Path("x"), readers)[0]

    assert outcome(lambda path: None) == "ok"
    assert outcome(lambda path: None, raising(InputError("one line"))) == "error"
    assert outcome(raising(InputError("two\nlines"))) == "traceback"
    assert outcome(raising(InputError("fine")), raising(ValueError("not ours"))) == "traceback"


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of memory are Linux's")
def test_the_program_sees_memory_that_was_given_back():
    """In a process of its own, as it is measured: this one's peak is that of all tests before."""
    code = "import fuzz, numpy; fuzz._peak(); b = fuzz._peak(); numpy.ones(200 << 20, numpy.uint8)\n"
    code += "print(*(fuzz._peak() - b > 150 << 20 for _ in range(2)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_the_program_sees_processes_that_die_and_that_do_not_end(fuzz, monkeypatch):
    monkeypatch.setattr(fuzz.Worker, "start", lambda self: None)
    for seconds, kill, expected in ((60.0, True, "crash"), (0.02, False, "hang"), (60.0, False, None)):
        worker = fuzz.Worker({}, seconds)
        worker.pipe, other = multiprocessing.Pipe()
        worker.process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,))
        worker.process.start()
        worker.begin(fuzz.Task("jpg", 0, 0))
        if kill:
            worker.process.kill()
            worker.process.join()
            other.close()
        time.sleep(0.3)
        found = worker.result()
        assert (found and found[0]) == expected
        worker.process.kill()
        worker.process.join()


def test_damage_follows_from_its_numbers_and_changes_files(fuzz):
    corpus = {"wav": [bytes(range(256)) * 8], "jpg": [b"\xff" * 500]}
    contents = [fuzz.Task("wav", k, 1).content(corpus) for k in range(40)]
    assert contents == [fuzz.Task("wav", k, 1).content(corpus) for k in range(40)]
    assert len(set(contents)) > 35
    assert sum(content == corpus["wav"][0] for content in contents) < 5


def test_damage_leaves_some_texts_right(fuzz, tmp_path):
    """Else only their parsers would be tried, not what looks at their values."""
    corpus, path = fuzz.seeds(tmp_path), tmp_path / "input"
    for kind in ("job", "rows", "table", "list"):
        found = []
        for number in range(60):
            path.write_bytes(fuzz.Task(kind, number, 0).content(corpus))
            found.append(fuzz._attempt(path, fuzz.READERS[kind])[0])
            for left in tmp_path.glob("input*"):
                left.unlink()
        assert {"ok", "error"} == set(found), kind


def test_checksums_are_made_right_again(fuzz, tmp_path):
    """Of good files there is nothing to be done; damage of the content alone is then behind a checksum that fits."""
    corpus = fuzz.seeds(tmp_path)
    for kind, checksum in (("ogg", slice(22, 26)), ("png", slice(29, 33))):
        good = corpus[kind][0]
        assert fuzz.repaired(good) == good
        bad = bytearray(good)
        bad[checksum] = b"none"
        assert fuzz.repaired(bytes(bad)) == good
        for end in range(0, len(good), 7):  # cut anywhere, it is no error
            fuzz.repaired(good[:end])
    assert fuzz.repaired(corpus["wav"][0]) == corpus["wav"][0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limits of memory are Linux's")
def test_damaged_files_are_read_or_refused(tmp_path):
    """For a minute, of which a tenth is preparing; conftest starts this file first, so that nothing waits for it."""
    command = [sys.executable, ROOT / "benchmarks/fuzz.py", "--inputs", "20000", "--http", "0", "--jobs", "1"]
    found = subprocess.run(
        [*map(str, command), "--time", "54", "--keep", str(tmp_path)], capture_output=True, text=True, timeout=280
    )
    assert found.returncode == 0, found.stdout + found.stderr
    totals = re.search(r"^all +(\d+) +(\d+) +0 +0 +0 +0$", found.stdout, re.MULTILINE)
    assert totals is not None, found.stdout
    ok, refused = map(int, totals.groups())
    assert ok + refused >= 200
    assert min(ok, refused) > 50  # neither is everything refused, nor has the damage none
