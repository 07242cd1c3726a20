"""Requests that nobody means well, to `kptalk serve`: no fault of its own, nothing told, nothing touched.

python benchmarks/serve_hostile.py [--requests 1000] [--seed 0]

Half of the requests are made of the API's own description (schemathesis), half are photos and recordings that are
damaged, are something else, or name other files. None may be answered by 500, with a traceback or with a path of the
server, no file may be made outside its folder, a list of files must not become a video, and every job must come to an
end. Ends with 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import httpx
import hypothesis
import schemathesis
from common import SPEECH, portrait, recording
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from PIL import Image
from serving import LIMITS, Running

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FINAL = ("completed", "failed", "cancelled", "expired")
TOLD = ("Traceback", "site-packages", 'File "', "/src/kptalk", ".py:", "sqlite3.")
NAMES = (
    "a.png",
    "../../../evil",
    "/etc/passwd",
    "a\\..\\b",
    "x" * 300,
    "évil\u202egnp.exe",
    "con",
    "list.ffconcat",
    "",
)
DEADLINE = 600.0  # seconds for the last job to end


class Watch:
    """What was answered, and what should not have been."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.statuses, self.faults = folder, Counter[str](), list[str]()

    def answer(self, answer: httpx.Response | object, what: str) -> None:
        """Look at one."""
        status, text = int(getattr(answer, "status_code", 0)), str(getattr(answer, "text", ""))
        self.statuses[str(status)] += 1
        told = [word for word in (*TOLD, str(self.folder)) if word in text]
        if status == 500 or told:
            self.faults.append(f"{what}: {status} {told} {text[:200]}")


def by_description(address: str, watch: Watch, count: int, seed: int) -> int:
    """Requests that follow the description, and some that do not; how many."""
    schema, sent = schemathesis.openapi.from_url(f"{address}/openapi.json"), [0]
    operations = [result.ok() for result in schema.get_all_operations()]
    each = max(1, count // (2 * len(operations)))
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            with suppress(hypothesis.errors.Unsatisfiable, TypeError):  # nothing that could be wrong there
                strategy = operation.as_strategy(generation_mode=mode)

                @settings(
                    max_examples=each,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    verbosity=Verbosity.quiet,
                    suppress_health_check=list(HealthCheck),
                )
                @hypothesis.seed(seed)
                @given(case=strategy)
                def one(case: schemathesis.Case) -> None:
                    try:
                        answer = case.call(timeout=30)
                    except Exception as error:  # what no client can send, or an answer that goes on and on
                        watch.statuses[type(error).__name__] += 1
                    else:
                        watch.answer(answer, f"{case.method} {case.path}")
                    sent[0] += 1

                one()
    return sent[0]


def damaged(data: bytes) -> bytes:
    """A file with something wrong."""
    made, kind = bytearray(data), random.randrange(6)
    if kind == 0:
        for _ in range(random.choice((1, 10, 300))):
            made[random.randrange(len(made))] = random.randrange(256)
    elif kind == 1:
        del made[random.randrange(len(made)) :]
    elif kind == 2:
        start = random.randrange(len(made))
        made[start : start + random.randrange(1, 5000)] = b""
    elif kind == 3:
        start = random.randrange(min(len(made), 400))
        made[start : start + 4] = random.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
    elif kind == 4:
        made[:0] = random.randbytes(random.randrange(1, 64))
    else:
        made += made[: random.randrange(len(made))]
    return bytes(made) or b"\0"


def enormous() -> bytes:
    """A PNG of 60000 x 60000 pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(3_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def others(folder: Path) -> list[bytes]:
    """Lists of other files, scripts and bombs, for photos and for recordings."""
    secrets = (
        "secret.wav",
        "../secret.wav",
        f"{folder}/secret.wav",
        "/etc/passwd",
        "http://127.0.0.1:9/x",
        "../jobs.sqlite",
    )
    lists = [f"ffconcat version 1.0\nfile {name}\n" for name in secrets]
    lists += [f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{name}\n#EXT-X-ENDLIST\n" for name in secrets]
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n"
    texts = [*lists, svg, eps, "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>"]
    gif = BytesIO()
    Image.new("P", (64, 64)).save(gif, "gif", save_all=True, append_images=[Image.new("P", (64, 64))] * 50)
    return [*(text.encode() for text in texts), enormous(), gif.getvalue(), b"", b"\0" * 1000, random.randbytes(5000)]


def uploads(client: httpx.Client, watch: Watch, count: int, photos: list[bytes], speeches: list[bytes]) -> list[str]:
    """Photos and recordings that are not what they should be; the ids of the jobs that were accepted."""
    strange, videos, lists = others(watch.folder), list[str](), list[str]()
    wrong: list[Callable[[bytes], bytes]] = [damaged, damaged, lambda _: random.choice(strange), lambda data: data]
    for _ in range(count):
        photo, speech = random.choice(photos), random.choice(speeches)
        photo, speech = random.choice(wrong)(photo), random.choice(wrong)(speech)
        if random.random() < 0.05:
            photo, speech = speech, photo
        files = {"portrait": (random.choice(NAMES), photo), "speech": (random.choice(NAMES), speech)}
        path = random.choices(("/v1/videos", "/v1/videos/sync", "/v1/portraits"), (5, 1, 4))[0]
        if path == "/v1/portraits":
            del files["speech"]
        fields = {} if path == "/v1/portraits" else {"size": "128", "framing": "crop"}
        answer = client.post(path, files=files, data=fields)
        watch.answer(answer, path)
        if answer.status_code == 202:
            videos.append(answer.json()["id"])
            if speech.startswith((b"ffconcat", b"#EXTM3U")):
                lists.append(answer.json()["id"])
    for video in ended(client, watch, videos):
        if video["id"] in lists and video["status"] != "failed":
            watch.faults.append(f"a list of files became a video: {video}")
    return videos


def ended(client: httpx.Client, watch: Watch, videos: list[str]) -> list[dict[str, object]]:
    """The objects of the videos, once all are final."""
    found, until = list[dict[str, object]](), time.monotonic() + DEADLINE
    for video in videos:
        while True:
            answer = client.get(f"/v1/videos/{video}")
            watch.answer(answer, "the end")
            if answer.status_code != 200 or answer.json()["status"] in FINAL:
                break
            if time.monotonic() > until:
                watch.faults.append(f"{video} is stuck")
                break
            time.sleep(0.2)
        found.append(answer.json())
        error = found[-1].get("error")
        if isinstance(error, dict):
            watch.statuses[error["code"]] += 1
            if error["code"] == "internal_error":
                watch.faults.append(f"{video}: {error}")
    return found


def files_around(folder: Path) -> set[Path]:
    """All files beside a server's folder, of the folder with the jobs, and of those for temporary files."""
    places = (folder.parent, Path("/etc"), Path.cwd())
    found = {path for place in places for path in place.rglob("*") if folder / "jobs" not in path.parents}
    return {path for path in found if ".hypothesis" not in path.parts}  # this program's own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="kptalk-hostile-") as name:
        folder = Path(name) / "served"
        own = portrait(Path(name)).read_bytes()
        photos = [own, *(path.read_bytes() for path in sorted(SHARED.glob("portraits/*"))[:20])]
        speeches = [SPEECH.read_bytes()[:20_000], recording(Path(name), 1.0).read_bytes()]
        speeches += [
            path.read_bytes() for path in sorted(SHARED.glob("speech/*"))[:10] if path.stat().st_size < 300_000
        ]
        server = Running(folder, *LIMITS, "--speech-seconds", "30")
        secret = recording(Path(name), 0.5).read_bytes()
        for place in (folder, folder / "jobs", Path(name)):
            (place / "secret.wav").write_bytes(secret)
        watch, before, began = Watch(Path(name)), files_around(folder), time.monotonic()
        try:
            sent = by_description(server.address, watch, arguments.requests // 2, arguments.seed)
            server.client.timeout = httpx.Timeout(300)
            made = uploads(server.client, watch, arguments.requests - sent, photos, speeches)
            ours = {"jobs.sqlite-wal", "jobs.sqlite-shm", "portrait"}
            more = files_around(folder) - before
            strangers = [path for path in more if path.name not in ours and not path.name.startswith("portrait_")]
            numbers = server.client.get("/metrics").text.splitlines()
            restarts = [line.split()[-1] for line in numbers if line.startswith("kptalk_worker_restarts_total ")]
        finally:
            server.stop()
        log = Path(server.log.name).read_text()
        if "Traceback" in log:
            watch.faults.append(f"the server's log: {log[log.index('Traceback') :][:2000]}")
        watch.faults += [f"made: {path}" for path in strangers]
    found = {
        "requests": arguments.requests,
        "of_the_description": sent,
        "accepted_jobs": len(made),
        "answers": dict(watch.statuses.most_common()),
        "worker_restarts": float(restarts[0]),
        "seconds": round(time.monotonic() - began),
        "faults": watch.faults,
    }
    print(json.dumps(found, indent=1))
    raise SystemExit(1 if watch.faults else 0)


if __name__ == "__main__":
    main()
