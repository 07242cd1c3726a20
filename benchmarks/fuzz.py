"""Damaged and hostile files, to everything that reads files: a result or one clear error, nothing else.

    python benchmarks/fuzz.py [--inputs 10000] [--seed 0] [--kinds jpg mp4 ...] [--jobs 2] [--keep FOLDER]

Photos, recordings, videos, motion files, model folders, tables and jobs are made by code here, damaged in ways that
follow from ``--seed``, and read in worker processes with limits on memory and time. Counted are: ok, error (one of
kptalk's own, on one line), and what must not be: traceback (any other exception), crash (the process died), hang
(longer than ``--seconds``), memory (more than 2 GB). ``http`` sends damaged uploads to a server of its own. What must
not be is kept as a file in ``--keep``, and makes the program end with 1.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path

import av
import numpy as np
import torch

MEMORY = 2 << 30  # bytes
ROOM = 6 << 30  # of address space beyond what the imports took: a bomb must not take the machine along
INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0\0\0",
    b"\xff" * 4,
    b"\x7f" + b"\xff" * 3,
    b"\x80" + b"\0" * 3,
    b"\xff" * 8,
)
Read = Callable[[Path], object]


# The seeds: small files of every kind.


def _picture(side: int = 96) -> np.ndarray:
    down, right = np.mgrid[0:side, 0 : side + 16].astype(np.uint8)
    return np.stack([down, right * 2, down ^ right], -1)


def _photos() -> dict[str, list[bytes]]:
    from PIL import Image

    image = Image.fromarray(_picture())

    def saved(picture: Image.Image, format: str, **options: object) -> bytes:
        file = io.BytesIO()
        picture.save(file, format, **options)
        return file.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(_picture()[..., 0])
    deep = Image.fromarray(_picture()[..., 0].astype(np.uint16) * 200)
    found = {
        "jpg": [
            saved(image, "JPEG", exif=exif),
            saved(image, "JPEG", progressive=True),
            saved(image.convert("CMYK"), "JPEG"),
        ],
        "png": [saved(each, "PNG") for each in (image, image.convert("RGBA"), image.convert("P"), deep)],
        "webp": [saved(image, "WEBP"), saved(image.convert("RGBA"), "WEBP", lossless=True)],
        "gif": [saved(image, "GIF", save_all=True, append_images=[grey, image])],
        "tiff": [saved(image, "TIFF", compression="tiff_lzw"), saved(deep, "TIFF")],
    }
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        found["heic"] = [saved(image, "HEIF")]
    return found


def _media(format: str, video: str | None, audio: str | None, rate: int = 16_000, frames: int = 8) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        pictures = container.add_stream(video, rate=25) if video else None
        sound = container.add_stream(audio, rate=rate, layout="mono") if audio else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 112, 96, "yuv420p"
            for k in range(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(_picture(), k, 1)), "rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
        if sound is not None:
            tone = (0.3 * np.sin(np.arange(rate // 2) / 9)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            frame.sample_rate = rate
            resampler = av.AudioResampler(
                sound.codec_context.format.name, "mono", rate, sound.codec_context.frame_size or None
            )
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return file.getvalue()


def _signed(folder: Path) -> bytes:
    from kptalk.provenance.certificates import make_certificates
    from kptalk.provenance.signing import Signer

    _, chain, key = make_certificates(folder / "keys", "fuzz")
    path = folder / "signed.mp4"
    path.write_bytes(_media("mp4", "libx264", "aac"))
    Signer.load(chain, key).sign(path, {"portrait": "0" * 64})
    return path.read_bytes()


def _motion(folder: Path) -> bytes:
    from kptalk.types import Motion

    rng = np.random.default_rng(0)
    frames = 12
    parts = [
        np.ones((frames, 1)),
        rng.normal(size=(frames, 3)),
        0.1 * rng.normal(size=(frames, 3)),
        0.01 * rng.normal(size=(frames, 21, 3)),
    ]
    path = folder / "motion.safetensors"
    Motion(*(part.astype(np.float32) for part in parts), Fraction(25), "facemesh").save(path)
    return path.read_bytes()


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Good files of every kind."""
    found = _photos()
    found["wav"] = [_media("wav", None, codec) for codec in ("pcm_s16le", "pcm_f32le", "adpcm_ms", "pcm_u8")]
    found["mp3"] = [_media("mp3", None, "libmp3lame")]
    found["m4a"] = [_media("ipod", None, "aac")]
    found["flac"] = [_media("flac", None, "flac")]
    found["ogg"] = [_media("ogg", None, "libopus", 48_000)]
    found["webm"] = [_media("webm", "libvpx", "libopus", 48_000)]
    found["mp4"] = [_media("mp4", "libx264", "aac"), _media("mov", "mpeg4", "pcm_s16le")]
    found["mkv"] = [_media("matroska", "libx264", "ac3", 48_000)]
    with suppress(ImportError):
        found["signed"] = [_signed(folder)]
    found["motion"] = [_motion(folder)]
    from kptalk.weights.header import embedded_path

    model = embedded_path("motion").parent
    found["model"] = [path.name.encode() + b"\0" + path.read_bytes() for path in sorted(model.glob("*.safetensors"))]
    found["model"] += [b"model.json\0" + (model / "model.json").read_bytes()] * len(found["model"])
    found["job"] = [
        b'{"seed": 7, "fps": "30000/1001", "size": 512, "framing": "crop", "pose": "still", "blinks": 12.5}'
    ]
    found["table"] = [b"file,name,identity,start,end\na.mp4,a,me,0.5,2\nb.mp4,b,you,,\n"]
    found["list"] = [b'\xef\xbb\xbfname,sha256,frames\r\n"a, b.mp4",' + b"0a" * 32 + b",25\r\n"]
    return found


# The readers: what kptalk does with such a file, as far as damage can matter.


def _photo(path: Path) -> None:
    from kptalk.media.image import read_image

    read_image(path)
    read_image(path.read_bytes())


def _sound(path: Path) -> None:
    from kptalk.media.audio import Speech

    for source in (path, path.read_bytes()):
        speech = Speech.open(source)
        for blocks in (speech.chunks(), speech.sound(1 << 14)):
            with closing(blocks):
                for _ in islice(blocks, 100):
                    pass


def _copied(path: Path) -> None:
    """As the sound of a video: packets are copied, or encoded anew."""
    from kptalk.media.audio import Speech
    from kptalk.media.encoder import VideoWriter
    from kptalk.media.stream import StreamSink

    with VideoWriter(StreamSink(io.BytesIO()), Fraction(25), (64, 64), Speech.open(path)) as writer:
        for _ in range(5):
            writer.write(np.zeros((1, 64, 64, 3), np.uint8))


def _video(path: Path) -> None:
    from kptalk.media.clip import probe, read_frames
    from kptalk.media.watermark_reader import _means

    probe(path)
    with closing(read_frames(path, Fraction(25))) as frames:
        for _ in islice(frames, 100):
            pass
    for _ in _means(path):  # what comes after is arithmetic, and slow
        pass


def _verify(path: Path) -> None:
    from kptalk.provenance.verify import verify

    verify(path)


def _load_motion(path: Path) -> None:
    from kptalk.types import Motion

    Motion.load(path)


def _model(path: Path) -> None:
    from kptalk.pipeline import Pipeline
    from kptalk.weights.header import embedded_path

    name, _, content = path.read_bytes().partition(b"\0")
    good = embedded_path("motion").parent
    with tempfile.TemporaryDirectory() as temporary:
        for each in good.iterdir():
            if each.is_file() and each.name.encode() != name:
                (Path(temporary) / each.name).symlink_to(each)
        (Path(temporary) / Path(name.decode("ascii", "replace")).name).write_bytes(content)
        Pipeline.from_pretrained(temporary, "cpu")


def _job(path: Path) -> None:
    from kptalk.errors import OptionError
    from kptalk.options import Options, ReenactOptions

    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # who reads the JSON says so; here it is the fuzzer
        raise OptionError(str(error)) from error
    if not isinstance(values, dict):
        raise OptionError("no object")
    for kind in (Options, ReenactOptions):
        kind.from_dict(values)


def _table(path: Path) -> None:
    from kptalk.train.prepare.sources import find_sources

    find_sources([path.rename(path.with_suffix(".csv"))])


def _clip_list(path: Path) -> None:
    from kptalk.evaluate.clips import read_clip_list

    read_clip_list(path)


READERS: dict[str, tuple[Read, ...]] = {
    **dict.fromkeys(("jpg", "png", "webp", "gif", "tiff", "heic"), (_photo,)),
    **dict.fromkeys(("wav", "mp3", "m4a", "flac", "ogg"), (_sound, _copied)),
    **dict.fromkeys(("webm", "mp4", "mkv"), (_video, _sound, _copied)),
    "signed": (_verify,),
    "motion": (_load_motion,),
    "model": (_model,),
    "job": (_job,),
    "table": (_table,),
    "list": (_clip_list,),
}


def damaged(good: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A copy with some damage; half of it where headers are."""
    data = bytearray(good)
    keep = data.index(0) + 1 if other is good and data[:1].isalpha() and b"\0" in data[:64] else 0

    def place() -> int:
        end = min(len(data), 4096) if rng.random() < 0.5 else len(data)
        return int(rng.integers(min(keep, max(0, end - 1)), max(end, keep + 1)))

    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        kind, at = int(rng.integers(9)), place()
        size = int(rng.integers(1, 1 + min(len(data), 512)))
        if kind == 0:
            for _ in range(int(rng.integers(1, 20))):
                data[min(place(), len(data) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            piece = INTERESTING[int(rng.integers(len(INTERESTING)))]
            data[at : at + len(piece)] = piece
        elif kind == 2:
            data[at : at + size] = rng.bytes(size)
        elif kind == 3:
            del data[at : at + size]
        elif kind == 4:
            data[at:at] = data[at : at + size] * int(rng.integers(1, 8))
        elif kind == 5:
            del data[max(keep, at) :]
        elif kind == 6:
            start = int(rng.integers(len(other)))
            data[at : at + size] = other[start : start + size]
        elif kind == 7:  # a size that a header states
            value = int(rng.choice([0, 1, 255, 65_535, 1 << 24, (1 << 31) - 1, (1 << 32) - 1, len(data)]))
            data[at : at + 4] = value.to_bytes(4, "big" if rng.random() < 0.5 else "little")
        else:
            digits = [k for k, byte in enumerate(data[:4096]) if 48 <= byte < 58]
            for k in rng.permutation(digits)[:3] if digits else ():
                data[k : k + 1] = bytes(rng.choice([b"9" * 20, b"-1", b"1e999", b"nan", b"0", b"\xff"]))
    return bytes(data)


@dataclass(frozen=True)
class Task:
    """One damaged file, which follows from the three numbers."""

    kind: str
    number: int
    seed: int

    def content(self, corpus: dict[str, list[bytes]]) -> bytes:
        """The bytes."""
        rng = np.random.default_rng([self.seed, self.number])
        goods = corpus[self.kind]
        good = goods[self.number % len(goods)]
        others = corpus[str(rng.choice(sorted(set(corpus) - {"model"})))]
        other = good if self.kind == "model" else others[int(rng.integers(len(others)))]
        return damaged(good, other, rng)


def _peak() -> int:
    """Most bytes in memory since the last time."""
    status = Path("/proc/self/status").read_text()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _attempt(path: Path, readers: tuple[Read, ...]) -> tuple[str, str]:
    from kptalk.errors import KptalkError

    outcome, said = "ok", ""
    for read in readers:
        try:
            read(path)
        except KptalkError as error:
            if "\n" in str(error) or not str(error):
                return "traceback", f"not one line: {error!r}"
            outcome, said = "error", f"{type(error).__name__}: {error}"
        except Exception:
            return "traceback", traceback.format_exc()
    return outcome, said


def work(pipe: Connection, corpus: dict[str, list[bytes]]) -> None:
    """What a worker process does: one file after the other."""
    import kptalk.pipeline  # noqa: F401  # now, not in somebody's limit

    torch.set_num_threads(1)
    av.logging.set_level(None)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libtiff and others print
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="kptalk-fuzz-") as temporary:
        pipe.send("ready")
        while (task := pipe.recv()) is not None:
            path = Path(temporary) / f"input.{task.kind}"
            path.write_bytes(task.content(corpus))
            _peak()
            outcome, said = _attempt(path, READERS[task.kind])
            peak = _peak()
            if peak > MEMORY and outcome in ("ok", "error"):
                outcome, said = "memory", f"{peak >> 20} MB; {said}"
            for left in Path(temporary).iterdir():
                left.unlink()
            pipe.send((outcome, said))


class Worker:
    """A process, started again when it dies."""

    def __init__(self, corpus: dict[str, list[bytes]], seconds: float) -> None:
        self.corpus, self.seconds, self.task = corpus, seconds, None
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.corpus), daemon=True)
        self.process.start()
        other.close()
        if not self.pipe.poll(120) or self.pipe.recv() != "ready":
            raise SystemExit("a worker did not start")

    def begin(self, task: Task) -> None:
        self.task, self.until = task, time.monotonic() + self.seconds
        self.pipe.send(task)

    def result(self) -> tuple[str, str] | None:
        """What became of the task, if anything did."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
            if time.monotonic() < self.until:
                return None
            outcome = "hang", f"longer than {self.seconds:g} s"
        except (EOFError, ConnectionError):
            self.process.join(10)
            outcome = "crash", f"exit code {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        self.start()
        return outcome

    def end(self) -> None:
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(5)
        self.process.kill()


def fuzz_files(
    corpus: dict[str, list[bytes]], tasks: list[Task], jobs: int, seconds: float, keep: Path
) -> Counter[tuple[str, str]]:
    """Read them all; counts by kind and outcome."""
    counts: Counter[tuple[str, str]] = Counter()
    workers = [Worker(corpus, seconds) for _ in range(jobs)]
    waiting = list(reversed(tasks))
    while waiting or any(worker.task for worker in workers):
        for worker in workers:
            if worker.task is not None and (found := worker.result()) is not None:
                note(counts, keep, worker.task, worker.task.content(corpus), *found)
                worker.task = None
            if worker.task is None and waiting:
                worker.begin(waiting.pop())
        if busy := [worker.pipe for worker in workers if worker.task]:
            wait(busy, timeout=0.5)
    for worker in workers:
        worker.end()
    return counts


def note(counts: Counter[tuple[str, str]], keep: Path, task: Task, content: bytes, outcome: str, said: str) -> None:
    """Count, and keep what must not be."""
    counts[task.kind, outcome] += 1
    if outcome not in ("ok", "error"):
        keep.mkdir(parents=True, exist_ok=True)
        path = keep / f"{outcome}-{task.seed}-{task.number}.{task.kind}"
        path.write_bytes(content)
        path.with_name(f"{path.name}.txt").write_text(said)
        print(f"{outcome}: {path}: {said.strip().splitlines()[-1] if said.strip() else ''}", flush=True)


def fuzz_http(corpus: dict[str, list[bytes]], count: int, seed: int, keep: Path) -> Counter[tuple[str, str]]:
    """Damaged uploads to a server: photos are looked at, and some pairs of photo and recording become videos."""
    from serving import Running

    counts: Counter[tuple[str, str]] = Counter()
    photos, sounds = ("jpg", "png", "webp", "gif", "tiff"), ("wav", "mp3", "m4a", "ogg", "webm", "mp4")
    with tempfile.TemporaryDirectory() as temporary:
        server = Running(Path(temporary) / "served", "--waiting", "100000", "--keep", "1d")
        jobs = []
        for number in range(count):
            photo, sound = photos[number % len(photos)], sounds[number % len(sounds)]
            task = Task(photo, number, seed)
            begun = time.monotonic()
            files = {"portrait": task.content(corpus)}
            try:
                if number % 4:
                    answer = server.client.post("/v1/portraits", files=files)
                else:
                    files["speech"] = Task(sound, number, seed).content(corpus)
                    files["portrait"] = files["portrait"] if number % 8 else corpus["http-portrait"][0]
                    answer = server.client.post("/v1/videos", files=files, data={"size": "64"})
                    if answer.status_code == 202:
                        jobs.append(answer.json()["id"])
            except Exception as error:
                note(counts, keep, Task("http", number, seed), files["portrait"], "crash", repr(error))
                continue
            bad = answer.status_code >= 500 or "Traceback" in answer.text or temporary in answer.text
            late = time.monotonic() - begun > 120  # other work on the machine counts here
            outcome = "traceback" if bad else "hang" if late else "ok" if answer.is_success else "error"
            note(counts, keep, Task("http", number, seed), files["portrait"], outcome, answer.text)
        until = time.monotonic() + 300 + 2 * len(jobs)
        for job in jobs:
            while (state := server.client.get(f"/v1/videos/{job}").json()).get("status") in ("queued", "in_progress"):
                if time.monotonic() > until:
                    break
                time.sleep(0.05)
            error = (state.get("error") or {}).get("code")
            outcome = (
                "ok"
                if state.get("status") == "completed"
                else "error"
                if error not in (None, "internal_error", "worker_died", "timeout")
                else "traceback"
            )
            counts["http", outcome] += 1
            if outcome == "traceback":
                print(f"{job}: {state}")
        server.stop()
    return counts


def print_table(counts: Counter[tuple[str, str]], kinds: list[str]) -> int:
    """A line a kind; returns how many outcomes must not be."""
    outcomes = ("ok", "error", "traceback", "crash", "hang", "memory")
    print(f"{'kind':8}", *(f"{outcome:>10}" for outcome in outcomes))
    for kind in kinds:
        print(f"{kind:8}", *(f"{counts[kind, outcome]:10}" for outcome in outcomes))
    totals = [sum(number for (_, found), number in counts.items() if found == outcome) for outcome in outcomes]
    print(f"{'all':8}", *(f"{total:10}" for total in totals), flush=True)
    return sum(totals[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--http", type=int, default=None, help="uploads among them; a twentieth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="that one file may take")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    began = time.monotonic()
    temporary = Path(tempfile.mkdtemp(prefix="kptalk-seeds-"))
    try:
        corpus = seeds(temporary)
    finally:
        shutil.rmtree(temporary)
    kinds = given.kinds or sorted(corpus)
    http = given.inputs // 20 if given.http is None else given.http
    # Model folders take long to load: there are fewer of them.
    weights = np.array([0.25 if kind == "model" else 1.0 for kind in kinds])
    numbers = np.random.default_rng(given.seed).choice(len(kinds), given.inputs - http, p=weights / weights.sum())
    tasks = [Task(kinds[int(kind)], number, given.seed) for number, kind in enumerate(numbers)]
    counts = fuzz_files(corpus, tasks, given.jobs, given.seconds, given.keep)
    if http:
        print_table(counts, kinds)
        from skimage import data

        file = io.BytesIO()
        from PIL import Image

        Image.fromarray(data.astronaut()[::2, ::2]).save(file, "PNG")
        counts += fuzz_http(corpus | {"http-portrait": [file.getvalue()]}, http, given.seed, given.keep)
    bad = print_table(counts, [*kinds, *(["http"] if http else [])])
    print(f"{time.monotonic() - began:.0f} s")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
