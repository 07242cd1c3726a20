"""Videos for hours: does anything grow?

    python benchmarks/soak.py [--hours 2] [--seed 0] [--log soak.csv]

In one process ``animate`` and ``reenact`` make videos of random photos, recordings and options, some of them cancelled
or refused; beside it a server gets jobs, streams and requests that end early. One worker of a batch makes row after row
without end, some of which cannot be made, and every 20 rounds there is a whole batch. After every round the memory of
the process, of the server, of its worker and of the batch's (without what files have of it), open files, threads, child
processes and temporary files are written down. At the end: their slopes over the second half. Ends with 1 where memory
grows by more than 20 MB an hour, or anything else grows at all.
"""

from __future__ import annotations

import argparse
import csv
import gc
import multiprocessing
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from io import BytesIO
from itertools import count, islice
from pathlib import Path

import httpx
import numpy as np
from common import SPEECH
from PIL import Image
from serving import Running, submit
from skimage import data

from kptalk.batch import run_batch
from kptalk.batch.jobs import Checker
from kptalk.batch.results import Result
from kptalk.batch.storage import Folder
from kptalk.batch.worker import Maker, Task
from kptalk.device import release_memory
from kptalk.engine import map_rows
from kptalk.errors import Cancelled, KptalkError
from kptalk.media.audio import Speech
from kptalk.media.watermark_reader import read_watermark
from kptalk.pipeline import Pipeline
from kptalk.weights.model import open_model

MOST_SLOPE = 20.0  # MB an hour
COLUMNS = (
    "seconds",
    "videos",
    "own_mb",
    "server_mb",
    "worker_mb",
    "batch_mb",
    "files",
    "server_files",
    "worker_files",
    "batch_files",
    "threads",
    "children",
    "temporary",
)


def descriptors(pid: int) -> int:
    """Open files of a process."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def leftovers(folder: Path) -> int:
    """Temporary files, and those that are written under another name than they will have."""
    found = ((Path(root), name) for root, folders, names in os.walk(folder) for name in (*folders, *names))
    return sum(name.startswith(".") or folder / "tmp" in (root, *root.parents) for root, name in found)


def own_memory(pid: int) -> float:
    """MB of a process that are no file's: the system takes those of files back as it likes."""
    with suppress(OSError):
        found = re.findall(r"(?:RssAnon|VmSwap):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return sum(map(int, found)) / 1024
    return 0.0


class Inputs:
    """Random photos, recordings and options."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sound = np.concatenate(list(Speech.open(SPEECH).chunks()))

    def photo(self) -> np.ndarray:
        side = self.rng.choice((128, 200, 256, 384, 512, 700))
        image = Image.fromarray(data.astronaut()).rotate(self.rng.uniform(-8, 8)).resize((side, side))
        return np.asarray(image)

    def photo_bytes(self) -> bytes:
        file = BytesIO()
        Image.fromarray(self.photo()).save(file, self.rng.choice(("PNG", "JPEG", "WEBP")))
        return file.getvalue()

    def speech(self) -> tuple[np.ndarray, int]:
        seconds = self.rng.choice((0.2, 0.5, 1.0, 2.0, 4.0))
        start = self.rng.randrange(max(1, len(self.sound) - int(16_000 * seconds)))
        return self.sound[start : start + int(16_000 * seconds)], 16_000

    def speech_bytes(self) -> bytes:
        from wave import open as open_wave

        file = BytesIO()
        with open_wave(file, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(16_000)
            wav.writeframes((self.speech()[0] * 32767).astype("<i2").tobytes())
        return file.getvalue()

    def options(self) -> dict[str, object]:
        return {
            "seed": self.rng.randrange(1000),
            "framing": self.rng.choice(("full", "crop")),
            "fps": self.rng.choice(("25", "30", "30000/1001", "12.5")),
            "size": self.rng.choice((None, 96, 256)),
            "refine": self.rng.random() < 0.2,
        }


def videos(inputs: Inputs, folder: Path) -> Iterator[None]:
    """Work of the library, a piece at a time."""
    pipeline, rng = Pipeline.from_pretrained(), inputs.rng
    driver = pipeline.animate(data.astronaut(), inputs.speech()).save(folder / "driver.mp4")
    while True:
        target = folder / "out.mp4"
        with suppress(KptalkError):
            animation = pipeline.animate(inputs.photo(), inputs.speech(), **inputs.options())  # type: ignore[arg-type]
            kind = rng.randrange(6)
            if kind == 0:
                animation.save(BytesIO())
            elif kind == 1:
                threading.Timer(rng.uniform(0, 0.5), animation.cancel).start()
                with suppress(Cancelled):
                    animation.save(target, overwrite=True)
            elif kind == 2:
                with closing(animation.frames()) as frames:
                    for _ in islice(frames, 2):
                        pass
            else:
                animation.save(target, overwrite=True)
                read_watermark(target)
        with suppress(KptalkError):
            pipeline.reenact(inputs.photo(), driver, size=128).save(target, overwrite=True)
        with suppress(KptalkError):
            pipeline.animate(np.zeros((200, 200, 3), np.uint8), inputs.speech())  # no face
        with suppress(KptalkError):
            Speech.open(rng.randbytes(2000))
        target.unlink(missing_ok=True)
        yield


def requests(inputs: Inputs, server: Running) -> Iterator[None]:
    """Work of the server, a piece at a time."""
    client, rng = server.client, inputs.rng
    while True:
        jobs = [submit(client, inputs.photo_bytes(), inputs.speech_bytes(), size=128) for _ in range(2)]
        with suppress(httpx.HTTPError), client.stream("GET", f"/v1/videos/{jobs[0]}/stream", timeout=30) as answer:
            for _ in islice(answer.iter_bytes(), rng.randrange(1, 4)):
                pass
        client.post("/v1/portraits", files={"portrait": rng.randbytes(500)})
        client.post("/v1/videos", files={"portrait": rng.randbytes(500), "speech": rng.randbytes(500)})
        if rng.random() < 0.3:
            client.delete(f"/v1/videos/{jobs.pop()}")
        for job in jobs:
            while client.get(f"/v1/videos/{job}").json().get("status") in ("queued", "in_progress"):
                time.sleep(0.05)
            client.get(f"/v1/videos/{job}/content")
            client.delete(f"/v1/videos/{job}")
        yield


def check(result: Result) -> None:
    """A row is made, or cannot be made for a reason that is ours to say."""
    if re.match(r"[A-Z]\w+: |the worker", result.error):
        raise RuntimeError(f"row {result.row}: {result.error}")


class Batch:
    """Rows for one worker of a batch, which lives as long as this does; and whole batches in between."""

    EVERY, SAME = 20, 50  # rounds: between whole batches; until an output has the same name again

    def __init__(self, inputs: Inputs, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder
        folder.mkdir()
        self.storage = Folder(folder / "rows")
        self.storage.open()
        build = partial(Maker, self.storage, {"embedded": open_model("embedded").digest()})
        self.made = map_rows(build, self.tasks(), jobs=1)
        self.close = self.made.close

    def row(self, number: int) -> dict[str, object]:
        """A row; of every tenth the recording is none, and of every eleventh the photo has no face."""
        portrait, speech = self.folder / f"{number}.png", self.folder / f"{number}.wav"
        photo = np.zeros((200, 200, 3), np.uint8) if number % 11 == 10 else self.inputs.photo()
        Image.fromarray(photo).save(portrait)
        speech.write_bytes(self.inputs.rng.randbytes(500) if number % 10 == 9 else self.inputs.speech_bytes())
        options = {name: value for name, value in self.inputs.options().items() if value is not None}
        motion = {"save_motion": f"{number}.safetensors"} if number % 3 == 0 else {}
        return {"portrait": str(portrait), "speech": str(speech), "output": f"{number}.mp4", **motion, **options}

    def tasks(self) -> Iterator[Task]:
        checker = Checker(self.folder, {})
        for number in count():
            output = f"{number % self.SAME}.mp4"
            yield Task(checker.check(number + 1, self.row(number % self.SAME) | {"output": output}))

    def __iter__(self) -> Iterator[None]:
        for number in count():
            outcome = next(self.made)
            if outcome.result is None:
                raise RuntimeError(f"row {outcome.number}: {outcome.error}")
            self.worker = next(each.pid for each in multiprocessing.active_children() if each.pid)
            check(outcome.result.result)
            for name, output, content in outcome.result.files:
                self.storage.place(name, output, content)
            if number % self.EVERY == 5:
                rows = [self.row(1000 + k) for k in (0, 1, 2)]  # 1000 has no face
                for each in run_batch(rows, self.folder / "whole", workers=1):
                    check(each.result)
                if (self.folder / "whole" / ".unfinished").exists():
                    raise RuntimeError("a finished batch has left files")
            yield


def slope(seconds: np.ndarray, values: np.ndarray) -> float:
    """Growth an hour, over the second half."""
    late = seconds >= seconds[-1] / 2
    return float(np.polyfit(seconds[late] / 3600, values[late], 1)[0]) if late.sum() > 2 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("soak.csv"))
    given = parser.parse_args()
    inputs, began, rows = Inputs(given.seed), time.monotonic(), []
    with tempfile.TemporaryDirectory() as name, given.log.open("w", newline="") as file, ExitStack() as ending:
        folder = Path(name)
        (folder / "tmp").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")  # of the server too
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        server = Running(folder / "served", "--keep", "1m")
        ending.callback(server.stop)
        batch = ending.enter_context(closing(Batch(inputs, folder / "batch")))
        works = [videos(inputs, folder), requests(inputs, server), iter(batch)]
        while time.monotonic() - began < 3600 * given.hours:
            for work in works:
                next(work)
            gc.collect()
            release_memory()  # as workers do: what glibc keeps of freed memory goes up and down
            processes = os.getpid(), server.process.pid, server.worker, batch.worker
            memory, files = map(own_memory, processes), map(descriptors, processes)
            left = leftovers(folder)
            counts = (threading.active_count(), len(multiprocessing.active_children()), left)
            row = (time.monotonic() - began, len(rows) + 1, *memory, *files, *counts)
            rows.append(row)
            writer.writerow([f"{value:.1f}" if isinstance(value, float) else value for value in row])
            file.flush()
    table = np.array(rows, float)
    bad = []
    print(f"{len(rows)} rounds in {table[-1, 0] / 3600:.2f} h")
    for column, values in zip(COLUMNS[2:], table.T[2:], strict=True):
        growth = slope(table[:, 0], values)
        seen = f"first {values[0]:8.1f}  last {values[-1]:8.1f}  most {values.max():8.1f}"
        print(f"{column:14} {seen}  {growth:+8.2f} an hour")
        half = values[len(values) // 2 :]
        if growth > MOST_SLOPE if column.endswith("_mb") else half.min() > max(values[:3]) + 2:
            bad.append(column)
    print("grows: " + ", ".join(bad) if bad else "flat")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
