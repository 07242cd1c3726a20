"""Commands that are killed at random moments: no half file under a final name, and what goes on ends whole.

    python benchmarks/kills.py [--kills 1000] [--seed 0] [--commands animate reenact ...]

Every command is first run to its end, to know its processor time and its outputs; then started and killed (SIGKILL,
every third time SIGTERM) after a random share of that time. What is there under a final name must be the very bytes
of the run that was left alone, and where a signed video is made, be signed and unchanged. A partial video must play.
``batch`` is then started again, and must end with the same bytes, a line for every one of them, and nothing left over.
Datasets and trainings, which go on where they were killed, have ``prepare_kills.py`` and ``train_kills.py``, the
server ``serve_load.py``; workers of a batch ``batch_kills.py``. Ends with 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from common import portrait, recording
from interrupt import _computed

from kptalk.errors import KptalkError
from kptalk.media.clip import probe
from kptalk.types import FIELDS, Motion

FINAL = {"out.mp4", "motion.safetensors", "plot.png", "1.mp4", "2.mp4", "3.mp4"}


@dataclass(frozen=True)
class Command:
    """What is run, in a folder of its own; its outputs go there.

    Attributes:
        arguments: of kptalk.
        signed: whether its videos are: their bytes differ from run to run.
        goes_on: whether the same command goes on after a kill.
    """

    arguments: list[object]
    signed: bool = False
    goes_on: bool = False


def commands(folder: Path) -> dict[str, Command]:
    """All commands that write files, and what they read."""
    photo, speech = portrait(folder), recording(folder, 2)
    keys = folder / "keys"
    subprocess.run(argv(["credentials", "init", keys]), check=True, stdout=subprocess.DEVNULL)
    video, motion = folder / "driver.mp4", folder / "driver.safetensors"
    subprocess.run(argv(["animate", photo, speech, "-o", video, "--save-motion", motion, "--quiet"]), check=True)
    jobs = folder / "jobs.csv"
    jobs.write_text("portrait,speech,seed,output\n" + "".join(f"{photo},{speech},{k},{k}.mp4\n" for k in (1, 2, 3)))
    sign = ["--sign-cert", keys / "chain.pem", "--sign-key", keys / "key.pem"]
    small = ["--size", "128", "--quiet"]
    batch = ["batch", jobs, "-o", ".", "--jobs", "2", *small]
    return {
        "animate": Command(["animate", photo, speech, "-o", "out.mp4", "--save-motion", "motion.safetensors", *small]),
        "animate, signed": Command(["animate", photo, speech, "-o", "out.mp4", *small, *sign], signed=True),
        "reenact": Command(["reenact", photo, video, "-o", "out.mp4", *small]),
        "motion extract": Command(["motion", "extract", video, "-o", "motion.safetensors", "--quiet"]),
        "motion render": Command(["motion", "render", photo, motion, "-o", "out.mp4", *small]),
        "motion show": Command(["motion", "show", motion, "-o", "plot.png", "--quiet"]),
        "batch": Command(batch, goes_on=True),
        "batch, signed": Command([*batch, *sign], signed=True, goes_on=True),
    }


def argv(arguments: list[object]) -> list[str]:
    """As a process gets them."""
    return [sys.executable, "-m", "kptalk", *map(str, arguments)]


def spent_by(pid: int) -> float:
    """Seconds of processor time of a process and its children, those that there are."""
    with suppress(OSError, IndexError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return _computed(pid) + sum(spent_by(int(child)) for child in children)
    return 0.0


def run(arguments: list[object], folder: Path, until: float | None, number: signal.Signals) -> float:
    """Run a command in a folder, up to so many seconds of processor time; how many it took."""
    said = subprocess.DEVNULL if until is not None else None
    process = subprocess.Popen(argv(arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=said)
    spent = 0.0
    while process.poll() is None:
        spent = max(spent, spent_by(process.pid))
        if until is not None and spent >= until:
            process.send_signal(number)
            process.wait(600)
        time.sleep(0.003)
    if until is None and process.returncode:
        raise SystemExit(f"{arguments[0]} failed with {process.returncode} in {folder}")
    return spent


def digest(path: Path) -> str:
    """SHA-256 of a file, or of what a motion file holds, whose header has its words in any order."""
    if path.suffix == ".safetensors":
        motion = Motion.load(path)
        return sha256(b"".join(getattr(motion, name).tobytes() for name in FIELDS)).hexdigest()
    return sha256(path.read_bytes()).hexdigest()


def fault_of(path: Path, signed: bool, whole: dict[str, str]) -> str | None:
    """What is wrong with a file that has its name."""
    if not signed:
        try:
            return None if digest(path) == whole[path.name] else f"{path.name} is not what it should be"
        except KptalkError as error:
            return f"{path.name}: {error}"
    from kptalk.provenance.verify import verify

    return None if (state := verify(path).state) == "valid" else f"{path.name} is {state}"


def faults(folder: Path, command: Command, whole: dict[str, str]) -> list[str]:
    """What is wrong with the files that a killed run left."""
    found = []
    for path in folder.iterdir():
        if path.name in FINAL:
            found += filter(None, [fault_of(path, command.signed, whole)])
        elif not path.name.startswith(".") and not (command.goes_on and path.name == "results.csv"):
            found.append(f"{path.name} should not be there")
        elif path.name.endswith(".partial.mp4") and path.stat().st_size:
            with suppress(KptalkError):  # the first second may not have been written yet
                probe(path)
    return found


def faults_at_the_end(folder: Path, command: Command, whole: dict[str, str]) -> list[str]:
    """What is wrong after the command went on."""
    names = {path.name for path in folder.iterdir()}
    found = faults(folder, command, whole)
    if names != {*whole, "results.csv"}:
        found.append(f"the folder has {', '.join(sorted(names))}")
    with (folder / "results.csv").open(newline="") as file:
        listed = {row["output"]: row["sha256"] for row in csv.DictReader(file) if row["status"] == "done"}
    if listed != {name: digest(folder / name) for name in whole if name in names}:
        found.append("results.csv has other files")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="*")
    given = parser.parse_args()
    rng, wrong, counts, began = random.Random(given.seed), 0, Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        known = commands(Path(name))
        chosen = given.commands or list(known)
        seconds, whole = {}, {}
        for command in chosen:
            with tempfile.TemporaryDirectory(dir=name) as work:
                seconds[command] = run(known[command].arguments, Path(work), None, signal.SIGKILL)
                whole[command] = {path.name: digest(path) for path in Path(work).iterdir() if path.name in FINAL}
        for number in range(given.kills):
            name_of, command = chosen[number % len(chosen)], known[chosen[number % len(chosen)]]
            with tempfile.TemporaryDirectory(dir=name, ignore_cleanup_errors=True) as work:
                # Half of them late, where files get their names.
                share = rng.uniform(0.75, 1.02) if number // len(chosen) % 2 else rng.uniform(0, 1)
                how = signal.SIGTERM if number % 3 == 0 else signal.SIGKILL
                run(command.arguments, Path(work), share * seconds[name_of], how)
                left = {path.name for path in Path(work).iterdir()}
                found = faults(Path(work), command, whole[name_of])
                state = "whole" if left >= set(whole[name_of]) else "some files" if left else "nothing"
                if command.goes_on:
                    run(command.arguments, Path(work), None, signal.SIGKILL)
                    found += faults_at_the_end(Path(work), command, whole[name_of])
                    state += ", then went on"
                counts[f"{name_of}: {state}"] += 1
                for fault in found:
                    wrong += 1
                    print(f"{name_of}, {how.name} at {share:.2f}: {fault}", flush=True)
            if (number + 1) % 100 == 0 or number + 1 == given.kills:
                print(*(f"{count:6} {what}" for what, count in sorted(counts.items())), sep="\n")
                print(f"{number + 1} kills, {wrong} half files or others that should not be there", end=" ")
                print(f"({time.monotonic() - began:.0f} s)", flush=True)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
