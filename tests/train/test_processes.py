"""Several processes train as one does; without accelerate one process does to the bit."""

import os
import runpy
import subprocess
import sys

import pytest
import torch

from kptalk.errors import MissingExtra
from kptalk.train.processes import AcceleratedProcesses, Processes, open_processes

PROGRAM = """
import sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from kptalk.train.loop import LoopConfig, fit
from kptalk.train.processes import open_processes

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(4, 1), nn.Linear(4, 4)
    def forward(self, x):
        return self.used(x)

def loss(network, draw):
    x = torch.from_numpy(np.stack([draw.rng_of(n).standard_normal(4, np.float32) for n in draw.numbers]))
    return ((network(x) - x.sum(1, keepdim=True)) ** 2).mean()

torch.manual_seed(0)
config = LoopConfig(steps=6, batch=8, warmup=2, score_every=3, learning_rate=0.05, accumulate=int(sys.argv[2]),
                    precision="float32")
processes = open_processes("cpu")
trained = fit(Network(), loss, lambda model: 0.0, Path(sys.argv[1]), config, processes=processes)
if processes.main:
    torch.save([processes.count, trained.last.state_dict()], Path(sys.argv[1]) / "result.pt")
"""


def trained(folder, count, accumulate, monkeypatch):
    folder.mkdir()
    program = folder / "program.py"
    program.write_text(PROGRAM)
    if count == 1:
        monkeypatch.setattr(sys, "argv", [str(program), str(folder), str(accumulate)])
        runpy.run_path(str(program))
    else:
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        argv = [sys.executable, *launch, program, folder, str(accumulate)]
        subprocess.run(argv, check=True, timeout=100, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    return torch.load(folder / "result.pt")


@pytest.mark.slow
def test_two_processes_and_accumulation_equal_one(tmp_path, monkeypatch):
    cases = {"one": (1, 1), "two": (2, 1), "parts": (1, 4)}
    one, two, parts = (trained(tmp_path / name, *how, monkeypatch) for name, how in cases.items())
    assert (one[0], two[0]) == (1, 2)
    for name, value in one[1].items():
        assert torch.allclose(two[1][name], value, atol=1e-6)
        assert torch.allclose(parts[1][name], value, atol=1e-6)


def test_accelerate_is_used_where_it_is_installed(monkeypatch):
    assert isinstance(open_processes("cpu"), AcceleratedProcesses)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert type(open_processes("cpu")) is Processes


def test_several_processes_without_accelerate_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    with pytest.raises(MissingExtra, match=r"kptalk\[train\]"):
        open_processes("cpu")
