"""The limits of processes that read what strangers send, each tried in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from ctypes.util import find_library
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from serving import finished, load_fake, recording, send

from kptalk.serve.app import create_app
from kptalk.serve.settings import Settings
from kptalk.serve.supervisor import WorkerProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limits")
with_filter = pytest.mark.skipif(find_library("seccomp") is None, reason="libseccomp is not installed")


def tried(code):
    """What a process says that runs the code, and its exit code."""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in found.stderr, found.stderr
    return found.stdout.splitlines(), found.returncode


LIMITS = """
import os, resource
import numpy as np
from kptalk.serve.confine import confine

np.ones(200 << 20, np.uint8)  # fits before
open_before = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
confine(64 << 20, 1.5)
np.ones(16 << 20, np.uint8)
try:
    np.ones(200 << 20, np.uint8)
except MemoryError:
    print("no memory")
try:
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
except OSError as error:
    print(error.strerror)
os.closerange(3, 9999)
with open("/tmp/kptalk-confined", "wb") as file:
    os.unlink(file.name)
    file.truncate((1 << 30) + (24 << 20))
    try:
        file.truncate((1 << 30) + (25 << 20))
    except OSError as error:
        print(error.strerror)
print(resource.getrlimit(resource.RLIMIT_CORE))
for name in ("DATA", "FSIZE", "NOFILE"):
    try:
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (1 << 40, 1 << 40))
    except (ValueError, OSError):
        print("not undone")
"""


def test_memory_files_and_cores_have_limits():
    said, code = tried(LIMITS)
    assert said[:4] == ["no memory", "Too many open files", "File too large", "(0, 0)"]
    assert code == 0
    if os.geteuid() != 0:  # root may raise what it has lowered
        assert said[4:] == ["not undone"] * 3


def test_a_lower_limit_stays():
    code = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (4096, 4096)); r.setrlimit(r.RLIMIT_NOFILE, (64, 99))\n"
    code += "from kptalk.serve.confine import confine; confine(1 << 30, 60)\n"
    code += "print(r.getrlimit(r.RLIMIT_FSIZE), r.getrlimit(r.RLIMIT_NOFILE))"
    assert tried(code)[0] == ["(4096, 4096) (64, 64)"]


ENDLESS = """
import time
from kptalk.serve.confine import allow_seconds

for _ in range(3):
    allow_seconds(0.5)  # anew at each turn
    until = time.process_time() + 0.4
    while time.process_time() < until:
        pass
print("turns", flush=True)
allow_seconds(0.1)
while True:
    pass
"""


def test_a_turn_that_never_ends_is_ended():
    """Processor time is counted in whole seconds, and for every core."""
    said, code = tried(f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})\n{ENDLESS}")
    assert (said, code) == (["turns"], -signal.SIGXCPU)


CALLS = """
import os, socket, subprocess, threading
from kptalk.serve.confine import confine

tries = {
    "program": lambda: subprocess.run(["true"]),
    "fork": os.fork,
    "shell": lambda: os.system("true") and os.execv("/bin/true", ["true"]),
    "internet": lambda: socket.create_connection(("127.0.0.1", 9)),
    "local": lambda: socket.socket(socket.AF_UNIX),
    "listening": lambda: connected[0].listen(),
    "groups": lambda: os.setgroups(os.getgroups()),  # which root may
}
connected = socket.socketpair()

def attempt():
    for name, call in tries.items():
        try:
            call()
            print(name, "done", flush=True)
        except OSError as error:
            print(name, error.strerror, flush=True)

def older():
    go.wait()
    attempt()
    print(open("/proc/thread-self/status").read().count("NoNewPrivs:\t1"))

go = threading.Event()
threads = [threading.Thread(target=each) for each in (older, attempt)]
threads[0].start()  # before the filter
confine(1 << 30, 60, alone=ALONE)
go.set()
threads[0].join()
threads[1].start()  # threads may still be started, and pipes used
threads[1].join()
connected[0].send(b"x")
print(connected[1].recv(1))
"""


@with_filter
def test_no_thread_starts_programs_or_connects():
    said, code = tried(CALLS.replace("ALONE", "True"))
    names = ("program", "fork", "shell", "internet", "local", "listening", "groups")
    refused = [f"{name} Operation not permitted" for name in names]
    assert (said, code) == ([*refused, "1", *refused, "b'x'"], 0)


@with_filter
def test_a_process_that_others_share_may_connect_but_gets_no_rights():
    said, code = tried(CALLS.replace("ALONE", "False").replace('"shell"', '# "shell"').replace('"fork"', '# "fork"'))
    tries = ["program done", "internet Connection refused", "local done", "groups Operation not permitted"]
    said = [line for line in said if not line.startswith("listening")]
    assert (said, code) == ([*tries, "1", *tries, "b'x'"], 0)


def test_without_the_library_there_is_a_warning_and_all_else():
    code = "import ctypes; old = ctypes.CDLL\n"
    code += "def absent(name):\n  if name: raise OSError(name)\n  return old(name)\n"
    code += "ctypes.CDLL = absent\nimport logging, sys; logging.basicConfig(stream=sys.stdout)\n"
    code += "from kptalk.serve.confine import confine; confine(1 << 30, 60)\n"
    code += "print(open('/proc/self/status').read().count('NoNewPrivs:\\t1'))"
    said, status = tried(code)
    assert "libseccomp is not installed" in said[0]
    assert (said[1], status) == ("1", 0)


def fences_of(pid):
    """What the system says of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    limits = Path(f"/proc/{pid}/limits").read_text()
    found = dict(re.findall(r"^(Seccomp|NoNewPrivs):\s+(\d)", status, re.MULTILINE))
    return found | dict(re.findall(r"^Max (core file size|data size|file size|cpu time)\s+(\w+)", limits, re.MULTILINE))


def test_the_worker_of_a_server_is_confined_and_makes_videos(tmp_path):
    settings = Settings(tmp_path / "served", hosts=("testserver",), free_bytes=0, speech_seconds=60)
    with TestClient(create_app(settings, partial(WorkerProcess, load=load_fake))) as client:
        video = finished(client, send(client, recording(tmp_path)).json()["id"], 60)
        assert video["status"] == "completed", video
        found = fences_of(client.app.state.server.workers.pid)
    assert (found["core file size"], found["NoNewPrivs"]) == ("0", "1")
    assert int(found["data size"]) < 20 << 30
    assert int(found["file size"]) == (1 << 30) + 60 * (16 << 20)
    assert int(found["cpu time"]) < 10_000
    if find_library("seccomp"):
        assert found["Seccomp"] == "2"
