"""Commands that are killed at random moments: no half file under a final name.

    python benchmarks/kills.py [--kills 1000] [--seed 0] [--commands animate reenact ...]

Every command is first run to its end, to know its processor time and its outputs; then started and killed (SIGKILL,
every third time SIGTERM) after a random share of that time. What is there under a final name must be the very bytes
of the run that was left alone, and where a signed video is made, be signed and unchanged. A partial video must play.
Datasets and trainings, which go on where they were killed, have ``prepare_kills.py`` and ``train_kills.py``. Ends with
1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from common import portrait, recording
from interrupt import _computed

from kptalk.errors import KptalkError
from kptalk.media.clip import probe
from kptalk.types import FIELDS, Motion

FINAL = {"out.mp4", "motion.safetensors", "plot.png"}
SAME = 0  # kinds of comparison: the same bytes; a signature differs from run to run
SIGNED = 1


def commands(folder: Path) -> dict[str, tuple[int, list[object]]]:
    """Arguments of each command; outputs go to the folder they run in."""
    photo, speech = portrait(folder), recording(folder, 2)
    keys = folder / "keys"
    subprocess.run(argv(["credentials", "init", keys]), check=True, stdout=subprocess.DEVNULL)
    video, motion = folder / "driver.mp4", folder / "driver.safetensors"
    subprocess.run(argv(["animate", photo, speech, "-o", video, "--save-motion", motion, "--quiet"]), check=True)
    sign = ["--sign-cert", keys / "chain.pem", "--sign-key", keys / "key.pem"]
    small = ["--size", "128", "--quiet"]
    return {
        "animate": (SAME, ["animate", photo, speech, "-o", "out.mp4", "--save-motion", "motion.safetensors", *small]),
        "animate, signed": (SIGNED, ["animate", photo, speech, "-o", "out.mp4", *small, *sign]),
        "reenact": (SAME, ["reenact", photo, video, "-o", "out.mp4", *small]),
        "motion extract": (SAME, ["motion", "extract", video, "-o", "motion.safetensors", "--quiet"]),
        "motion render": (SAME, ["motion", "render", photo, motion, "-o", "out.mp4", *small]),
        "motion show": (SAME, ["motion", "show", motion, "-o", "plot.png", "--quiet"]),
    }


def argv(arguments: list[object]) -> list[str]:
    """As a process gets them."""
    return [sys.executable, "-m", "kptalk", *map(str, arguments)]


def run(arguments: list[object], folder: Path, until: float | None, number: signal.Signals) -> float:
    """Run a command in a folder, up to so many seconds of processor time; how many it took."""
    process = subprocess.Popen(argv(arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    spent = 0.0
    while process.poll() is None:
        with suppress(OSError, IndexError):
            spent = _computed(process.pid)
        if until is not None and spent >= until:
            process.send_signal(number)
            process.wait(60)
        time.sleep(0.003)
    if until is None and process.returncode:
        raise SystemExit(f"{arguments[0]} failed with {process.returncode}")
    return spent


def digest(path: Path) -> str:
    """SHA-256 of a file, or of what a motion file holds, whose header has its words in any order."""
    if path.suffix == ".safetensors":
        motion = Motion.load(path)
        return sha256(b"".join(getattr(motion, name).tobytes() for name in FIELDS)).hexdigest()
    return sha256(path.read_bytes()).hexdigest()


def faults(folder: Path, kind: int, whole: dict[str, str]) -> list[str]:
    """What is wrong with the files that a killed run left."""
    found = []
    for path in folder.iterdir():
        if path.name in FINAL:
            if kind == SAME:
                try:
                    same = digest(path) == whole[path.name]
                except KptalkError as error:
                    same = False
                    print(error)
                if not same:
                    found.append(f"{path.name} is not what it should be")
            if kind == SIGNED:
                from kptalk.provenance.verify import verify

                if (state := verify(path).state) != "valid":
                    found.append(f"{path.name} is {state}")
        elif not path.name.startswith("."):
            found.append(f"{path.name} should not be there")
        elif path.name.endswith(".partial.mp4") and path.stat().st_size:
            with suppress(KptalkError):  # the first second may not have been written yet
                probe(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="*")
    given = parser.parse_args()
    rng, wrong, counts = random.Random(given.seed), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        known = commands(Path(name))
        chosen = given.commands or list(known)
        seconds, whole = {}, {}
        for command in chosen:
            with tempfile.TemporaryDirectory(dir=name) as work:
                seconds[command] = run(known[command][1], Path(work), None, signal.SIGKILL)
                whole[command] = {path.name: digest(path) for path in Path(work).iterdir() if path.name in FINAL}
        for number in range(given.kills):
            command = chosen[number % len(chosen)]
            kind, arguments = known[command]
            with tempfile.TemporaryDirectory(dir=name) as work:
                # Half of them late, where files get their names.
                share = rng.uniform(0.75, 1.02) if number % 2 else rng.uniform(0, 1)
                how = signal.SIGTERM if number % 3 == 0 else signal.SIGKILL
                run(arguments, Path(work), share * seconds[command], how)
                left = {path.name for path in Path(work).iterdir()}
                counts[f"{command}: {'finished' if left & FINAL else 'partial' if left else 'nothing'}"] += 1
                for fault in faults(Path(work), kind, whole[command]):
                    wrong += 1
                    print(f"{command}, {how.name} at {share:.2f}: {fault}", flush=True)
    for what, count in sorted(counts.items()):
        print(f"{count:6} {what}")
    print(f"{given.kills} kills, {wrong} half files or others that should not be there")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
