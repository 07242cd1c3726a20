"""The limits of processes that read what strangers send."""

import os
import subprocess
import sys

import pytest

TRY = """
import resource
import numpy as np
from kptalk.serve.confine import confine

np.ones(200 << 20, np.uint8)  # fits before
confine(64 << 20)
np.ones(16 << 20, np.uint8)
try:
    np.ones(200 << 20, np.uint8)
except MemoryError:
    print("refused")
print(resource.getrlimit(resource.RLIMIT_CORE))
try:
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40))
except (ValueError, OSError):
    print("not undone")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_process_gets_no_more_memory_than_it_may():
    found = subprocess.run([sys.executable, "-c", TRY], capture_output=True, text=True, timeout=60)
    said = found.stdout.splitlines()
    assert said[:2] == ["refused", "(0, 0)"], found.stderr
    if os.geteuid() != 0:  # root may raise what it has lowered
        assert said[2:] == ["not undone"]
