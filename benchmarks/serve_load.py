"""`kptalk serve` under load, and killed: no job is lost or stuck, memory stays, and the bytes are the same.

python benchmarks/serve_load.py [--minutes 30] [--viewers 4] [--queued 50] [--worker-kills 20] [--server-kills 5]

First part: viewers watch a video of their own each, again and again, while other jobs wait; how long GET
/v1/videos/{id} takes, and memory. Second part: the worker and the server are killed with SIGKILL at random moments;
when every job is completed its files are compared with those of an undisturbed server. Ends with 1 if anything is not
as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
from common import portrait, recording
from serving import LIMITS, Running, submit

FINAL = ("completed", "failed", "cancelled", "expired")
PATIENCE = 1200.0  # seconds without any job completed, after which they are stuck
P95 = 0.1  # seconds, of GET /v1/videos/{id}


class Load:
    """Viewers, waiting jobs and a look at one of them again and again, until the time is over."""

    def __init__(self, server: Running, photo: bytes, speeches: list[bytes], size: int, queued: int) -> None:
        self.server, self.photo, self.speeches, self.size, self.queued = server, photo, speeches, size, queued
        self.until, self.accepted, self.lock = 0.0, dict[str, str](), threading.Lock()
        self.looks: list[float] = []
        self.first: list[float] = []
        self.watched: list[tuple[str, int, str]] = []
        self.memory: list[tuple[float, float, float]] = []
        self.faults: list[str] = []

    def run(self, minutes: float, viewers: int) -> None:
        """All of it."""
        self.until = time.monotonic() + 60 * minutes
        work = [self.watch] * viewers + [self.fill, self.look, self.weigh]
        threads = [threading.Thread(target=self.guarded, args=(each,)) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def guarded(self, work) -> None:  # type: ignore[no-untyped-def]
        try:
            with httpx.Client(base_url=self.server.address, timeout=600) as client:
                work(client)
        except Exception as error:
            self.faults.append(f"{work.__name__}: {error!r}")

    def new(self, client: httpx.Client, kind: str) -> str:
        speech = random.choice(self.speeches)
        video = submit(client, self.photo, speech, size=self.size, seed=random.randrange(1000))
        with self.lock:
            self.accepted[video] = kind
        return video

    def watch(self, client: httpx.Client) -> None:
        """Ask for a video and watch it to its end, again and again."""
        while time.monotonic() < self.until:
            video, began, digest, size = self.new(client, "watched"), time.monotonic(), sha256(), 0
            with client.stream("GET", f"/v1/videos/{video}/stream") as answer:
                for block in answer.iter_raw():
                    if not size:
                        self.first.append(time.monotonic() - began)
                    size += len(block)
                    digest.update(block)
            self.watched.append((video, size, digest.hexdigest()))

    def fill(self, client: httpx.Client) -> None:
        """Keep so many jobs waiting, until shortly before the end."""
        while time.monotonic() < self.until:
            text = client.get("/metrics").text
            waiting = next(float(line.split()[-1]) for line in text.splitlines() if 'status="queued"' in line)
            for _ in range(max(0, self.queued - round(waiting))):
                self.new(client, "queued")
            time.sleep(0.5)

    def look(self, client: httpx.Client) -> None:
        """How long an answer takes."""
        while time.monotonic() < self.until:
            with self.lock:
                videos = list(self.accepted)
            if videos:
                began = time.perf_counter()
                client.get(f"/v1/videos/{random.choice(videos)}").raise_for_status()
                self.looks.append(time.perf_counter() - began)
            time.sleep(0.05)

    def weigh(self, client: httpx.Client) -> None:
        """The memory of both processes."""
        while time.monotonic() < self.until:
            self.memory.append((time.monotonic(), *self.server.memory()))
            time.sleep(2)


def drain(client: httpx.Client, videos: list[str]) -> dict[str, str]:
    """What became of the videos; stuck ones are called so."""
    found, news = dict[str, str](), time.monotonic()
    while len(found) < len(videos) and time.monotonic() - news < PATIENCE:
        for video in (each for each in videos if each not in found):
            with suppress(httpx.HTTPError):
                answer = client.get(f"/v1/videos/{video}")
                status = "lost" if answer.status_code == 404 else answer.json()["status"]
                if status in FINAL or status == "lost":
                    found[video], news = status, time.monotonic()
        time.sleep(0.5)
    return {video: found.get(video, "stuck") for video in videos}


def growth(memory: list[tuple[float, float, float]], column: int) -> float:
    """MB an hour, by a line through the second half of the measurements."""
    half = np.array(memory[len(memory) // 2 :])
    if len(half) < 3:
        return float("nan")
    return float(np.polyfit(half[:, 0] / 3600, half[:, column], 1)[0])


def under_load(folder: Path, photo: bytes, speeches: list[bytes], arguments: argparse.Namespace) -> dict[str, object]:
    """The first part."""
    server = Running(folder / "load", *LIMITS)
    try:
        load = Load(server, photo, speeches, arguments.size, arguments.queued)
        load.run(arguments.minutes, arguments.viewers)
        ends = drain(server.client, list(load.accepted))
        for video, size, digest in load.watched:
            again = server.client.get(f"/v1/videos/{video}/stream").content
            if (len(again), sha256(again).hexdigest()) != (size, digest):
                load.faults.append(f"{video}: another stream afterwards")
    finally:
        server.stop()
    looks = sorted(load.looks)
    memory = [[round(each[column]) for each in load.memory] for column in (1, 2)]
    return {
        "accepted": len(ends),
        "completed": sum(status == "completed" for status in ends.values()),
        "watched": len(load.watched),
        "looks": len(looks),
        "look_median_ms": round(1000 * statistics.median(looks), 1),
        "look_p95_ms": round(1000 * looks[int(0.95 * len(looks))], 1),
        "first_bytes_median_s": round(statistics.median(load.first), 2),
        "first_bytes_worst_s": round(max(load.first), 2),
        "server_mb": [memory[0][len(memory[0]) // 2], max(memory[0])],
        "worker_mb": [memory[1][len(memory[1]) // 2], max(memory[1])],
        "growth_mb_an_hour": [round(growth(load.memory, column)) for column in (1, 2)],
        "faults": load.faults,
        "good": not load.faults
        and all(status == "completed" for status in ends.values())
        and looks[int(0.95 * len(looks))] < P95,
    }


def digests(client: httpx.Client, video: str) -> tuple[str, ...]:
    """Of all files of a video."""
    paths = ("stream", "content", "content?variant=thumbnail")
    return tuple(sha256(client.get(f"/v1/videos/{video}/{path}").content).hexdigest() for path in paths)


def killed(folder: Path, photo: bytes, speeches: list[bytes], arguments: argparse.Namespace) -> dict[str, object]:
    """The second part."""
    wanted = [(speech, seed) for seed in range(arguments.jobs) for speech in [speeches[seed % len(speeches)]]]
    kills = ["worker"] * arguments.worker_kills + ["server"] * arguments.server_kills
    random.shuffle(kills)
    server, done = Running(folder / "killed", *LIMITS), 0
    try:
        videos = submit_all(server, photo, wanted, arguments.size)
        viewer = threading.Thread(target=follow, args=(server, videos[-1]), daemon=True)
        viewer.start()
        for kind in kills:
            time.sleep(random.uniform(0.2, arguments.pause))
            if all(server.client.get(f"/v1/videos/{video}").json()["status"] in FINAL for video in videos):
                more = [(speech, seed + 1000 + done) for speech, seed in wanted[:2]]  # so that every kill hits one
                wanted += more
                videos += [
                    submit(server.client, photo, speech, size=arguments.size, seed=seed) for speech, seed in more
                ]
                time.sleep(random.uniform(0.2, 2))
            if kind == "worker":
                with suppress(ProcessLookupError):
                    os.kill(server.worker, signal.SIGKILL)
            else:
                server.kill()
                server.start()
            server.wait_until_ready()
            done += 1
        ends = drain(server.client, videos)
        got = [digests(server.client, video) for video in videos]
        kept = [server.client.get(f"/v1/videos/{video}").json()["error"] for video in videos]
    finally:
        server.stop()
    quiet = Running(folder / "quiet", *LIMITS)
    try:
        others = submit_all(quiet, photo, wanted, arguments.size)
        drain(quiet.client, others)
        expected = [digests(quiet.client, video) for video in others]
    finally:
        quiet.stop()
    same = sum(a == b for a, b in zip(got, expected, strict=True))
    return {
        "kills": {kind: kills.count(kind) for kind in ("worker", "server")},
        "accepted": len(videos),
        "completed": sum(status == "completed" for status in ends.values()),
        "same_bytes": same,
        "errors": [error for error in kept if error],
        "good": same == len(videos) and all(status == "completed" for status in ends.values()),
    }


def submit_all(server: Running, photo: bytes, wanted: list[tuple[bytes, int]], size: int) -> list[str]:
    """A video for each recording and seed."""
    return [submit(server.client, photo, speech, size=size, seed=seed) for speech, seed in wanted]


def follow(server: Running, video: str) -> None:
    """Somebody who watches, so that several are made at the same time; as long as the server lives."""
    with (
        suppress(httpx.HTTPError),
        httpx.stream("GET", f"{server.address}/v1/videos/{video}/stream", timeout=600) as answer,
    ):
        for _ in answer.iter_raw():
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of the first part; 0 leaves it out")
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--queued", type=int, default=50)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--server-kills", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=12, help="of the second part")
    parser.add_argument("--pause", type=float, default=6, help="seconds between two kills, at most")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seconds", type=float, nargs="+", default=[2, 4, 8], help="of the recordings")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    good = True
    with tempfile.TemporaryDirectory(prefix="kptalk-load-") as name:
        folder = Path(name)
        photo = portrait(folder).read_bytes()
        speeches = [recording(folder, seconds).read_bytes() for seconds in arguments.seconds]
        for part, wanted in (
            (under_load, arguments.minutes),
            (killed, arguments.worker_kills + arguments.server_kills),
        ):
            if wanted:
                found = part(folder, photo, speeches, arguments)
                good &= bool(found["good"])
                print(json.dumps({part.__name__: found}, indent=1), flush=True)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
