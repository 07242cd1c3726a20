import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

import pytest

from kptalk.scratch import YOUNG, scratch_folder

WORK = """
import time
from kptalk.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "portrait").write_bytes(b"a face")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def at_work(tmp_path):
    """Another process's folder, and how to kill it."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", WORK], env=environment, stdout=subprocess.PIPE, text=True)
    folder = tmp_path / process.stdout.readline().strip()
    old = time.time() - 2 * YOUNG
    os.utime(folder / ".lock", (old, old))

    def kill():
        process.send_signal(signal.SIGKILL)
        process.wait()

    yield folder, kill
    process.kill()
    process.communicate()


def test_it_goes_with_the_work_that_failed(temporary):
    with suppress(ValueError), scratch_folder() as folder:
        (folder / "portrait").write_bytes(b"a face")
        raise ValueError
    assert not list(temporary.iterdir())


def test_the_folder_of_a_killed_process_goes_with_the_next(at_work, temporary):
    folder, kill = at_work
    with scratch_folder():
        assert (folder / "portrait").exists()  # it is at work
    kill()
    assert (folder / "portrait").exists()
    with scratch_folder() as mine:
        assert list(temporary.iterdir()) == [mine]


def test_what_others_have_there_stays(temporary):
    (temporary / "kptalk-models").mkdir()
    (temporary / "kptalk-models" / "a").write_bytes(b"")
    with scratch_folder():
        pass
    assert (temporary / "kptalk-models" / "a").exists()


def test_a_file_system_without_locks(monkeypatch, temporary):
    def none(path):
        raise OSError("no locks here")

    monkeypatch.setattr("kptalk.scratch.lock_file", none)
    with scratch_folder() as folder:
        (folder / "portrait").write_bytes(b"a face")
    assert not list(temporary.iterdir())
