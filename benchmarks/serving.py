"""What the server's benchmarks share: `kptalk serve` in a process of its own, and its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

LIMITS = ("--waiting", "1000", "--viewers", "64")


class Running:
    """A server on a folder; can be killed and started again at the same address."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder, self.flags, self.port = folder, flags, 0
        self.log = folder.with_suffix(".log").open("a")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        argv = [sys.executable, "-m", "kptalk", "serve", "--folder", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen([*argv, *self.flags], stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the server did not start: {Path(self.log.name).read_text()}")
        self.address = line.split()[-1]
        self.port = int(self.address.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.address, timeout=60)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait for the worker."""
        for _ in range(6000):
            with suppress(httpx.HTTPError):
                if self.client.get("/ready").status_code == 200:
                    return
            time.sleep(0.05)
        raise SystemExit("the worker does not get ready")

    @property
    def worker(self) -> int:
        """The process id of the worker."""
        return int((self.folder / "worker.lock").read_text() or 0)

    def memory(self) -> tuple[float, float]:
        """MB of the server and of the worker, as far as they are there."""
        return _resident(self.process.pid), _resident(self.worker)

    def kill(self) -> None:
        """kill -9, without a word to the worker."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def _resident(pid: int) -> float:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def submit(client: httpx.Client, portrait: bytes, speech: bytes, **fields: object) -> str:
    """POST a video; its id. Asks again where the server is just not there."""
    key = {"Idempotency-Key": os.urandom(8).hex()}
    while True:
        try:
            files = {"portrait": portrait, "speech": speech}
            answer = client.post("/v1/videos", files=files, data=fields, headers=key)
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        if answer.status_code == 429:
            time.sleep(0.5)
            continue
        answer.raise_for_status()
        return str(answer.json()["id"])
