"""Some hundred damaged files of all kinds, the same in every run: no traceback, crash, hang or flood of memory."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limits of memory are Linux's")
def test_damaged_files_are_read_or_refused(tmp_path):
    kinds = "jpg png webp gif tiff heic wav mp3 m4a flac ogg webm mp4 mkv motion job table list"
    command = [sys.executable, ROOT / "benchmarks/fuzz.py", "--inputs", "500", "--http", "0", "--jobs", "1"]
    found = subprocess.run(
        [*map(str, command), "--keep", str(tmp_path), "--kinds", *kinds.split()],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    totals = re.search(r"^all +(\d+) +(\d+) +0 +0 +0 +0$", found.stdout, re.MULTILINE)
    assert totals is not None, found.stdout
    ok, refused = map(int, totals.groups())
    assert ok + refused == 500
    assert min(ok, refused) > 50  # neither is everything refused, nor has the damage none
