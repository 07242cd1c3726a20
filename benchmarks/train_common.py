"""What the benchmarks of training share: a folder to begin with, ``kptalk train`` in a process, weights compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from kptalk.weights.header import embedded_path


def model_folder(folder: Path, tokens: Path | None = None) -> Path:
    """A folder with the embedded model's motion space and audio encoder; ``tokens``: of a folder made before."""
    folder.mkdir(parents=True)
    for name in ("facemesh", "audio"):
        (folder / f"{name}.safetensors").write_bytes(embedded_path(name).read_bytes())
    if tokens:
        (folder / "tokens-facemesh").symlink_to((tokens / "tokens-facemesh").resolve())
    return folder


def command(data: Path, folder: Path, *changes: str, processes: int = 1) -> list[str]:
    """``kptalk train motion`` of the smoke config, in float32 on the CPU."""
    launch = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    run = [sys.executable, *launch, "-m", "kptalk", "train", "motion", "--config", "smoke", "--device", "cpu"]
    return [*run, "--data", str(data), "-o", str(folder), *(f"--set={change}" for change in changes)]


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    """A process of one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def run(argv: list[str]) -> None:
    """The same to its end."""
    if code := start(argv).wait():
        raise SystemExit(f"{' '.join(argv)} failed with code {code}")


def same(a: Path, b: Path) -> bool:
    """Whether two files of weights hold the same bits and the same header, which safetensors orders at will."""
    with safe_open(a, "pt") as one, safe_open(b, "pt") as other:
        alike = one.metadata() == other.metadata() and one.keys() == other.keys()
        return alike and all(torch.equal(one.get_tensor(name), other.get_tensor(name)) for name in one.keys())  # noqa: SIM118


def difference(a: Path, b: Path) -> float:
    """Largest difference of the weights in two checkpoints: network, moving average and the best."""
    states = [torch.load(folder / "motion.log" / "state.pt", weights_only=True) for folder in (a, b)]
    pairs = [
        (states[0][part][name], states[1][part][name])
        for part in ("model", "average", "kept")
        for name in states[0][part]
    ]
    return max(float((one.double() - other.double()).abs().max()) for one, other in pairs if one.numel())
