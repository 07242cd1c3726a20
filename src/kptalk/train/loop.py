"""One training loop for every network: seeded, resumable, in one process or many, with a moving average of the weights.

What a step does follows from the seed and the step's number alone: a training that was killed and resumed ends with the
weights of an uninterrupted one, and the sequences of a step do not depend on how many processes share them.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kptalk.errors import DatasetError, OptionError
from kptalk.train.checkpoint import TrainingLog, load_state, save_state
from kptalk.train.processes import Processes

CHECK_EVERY = 20  # steps between two looks at whether the loss is still a number
PACE_EVERY = 0.5  # seconds between two calls of ``on_pace``


@dataclass(frozen=True)
class LoopConfig:
    """How a network is trained.

    Weights that score ``tolerance`` below the best are still preferred to earlier ones: the score, of a few people, is
    noisy, and does not see everything that goes on getting better.

    Attributes:
        steps: optimiser steps.
        batch: sequences of one step, over all processes and accumulated parts.
        learning_rate: peak, reached after ``warmup`` steps; falls to zero along a cosine.
        betas: of AdamW: decay of the mean gradient, and of its square.
        weight_decay: of AdamW, for matrices alone.
        warmup: steps over which the learning rate rises.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights, which is scored and kept.
        accumulate: parts of a batch that a process computes one after the other, to save memory.
        precision: of the networks, bfloat16 (autocast) or float32.
        score_every: steps between two scores, which are also the checkpoints.
        tolerance: by how much later weights may score below the best and still be preferred.
        seed: of the batches and the dropout.
        minutes: after which a call stops, to be resumed; 0 for no limit.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.995
    accumulate: int = 1
    precision: str = "bfloat16"
    score_every: int = 100
    tolerance: float = 0.0
    seed: int = 0
    minutes: float = 0.0

    def __post_init__(self) -> None:
        """Raises OptionError where a number makes no sense."""
        for name in ("steps", "batch", "accumulate", "score_every"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}: give 1 or more")
        for name in ("learning_rate", "weight_decay", "warmup", "tolerance", "seed", "minutes"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name} is {getattr(self, name)}: give 0 or more")
        if not (0 <= self.ema < 1 and all(0 <= beta < 1 for beta in self.betas) and self.clip > 0):
            raise OptionError(f"ema {self.ema}, betas {self.betas} lie from 0 to below 1, and clip {self.clip} above 0")
        if self.precision not in ("bfloat16", "float32"):
            raise OptionError(f"precision is {self.precision!r}: give bfloat16 or float32")


@dataclass(frozen=True)
class Draw:
    """Which sequences of the training one process computes together: part of the batch of a step.

    ``numbers`` count the sequences from the training's first; ``part`` counts the parts of the batch.
    """

    seed: int
    step: int
    part: int
    numbers: range
    precision: str = "bfloat16"

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def rng(self) -> np.random.Generator:
        """A generator for the whole part; the same at every call."""
        return np.random.default_rng([self.seed, self.step, self.part])

    def rng_of(self, number: int) -> np.random.Generator:
        """A generator for one sequence, whichever process computes it."""
        return np.random.default_rng([self.seed, number, 0, 1])

    def autocast(self, device: torch.device) -> torch.autocast:
        """The precision in which networks compute."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


Loss = Callable[[nn.Module, Draw], Tensor]
Score = Callable[[nn.Module], float | Mapping[str, float]]  # of several columns, "score" is the one that decides
Progress = Callable[[int, int, dict[str, float]], None]  # steps done, of how many, the row of the log
Pace = Callable[[int, int, float, float], None]  # steps done, of how many, sequences a second, seconds left
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Trained(Generic[Model]):
    """Moving averages of the weights: the best by score, see ``LoopConfig.tolerance``, and the last."""

    best: Model
    last: Model


class _Objective(nn.Module):
    """Network and loss as one module, whose gradients several processes can average."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, draw: Draw) -> Tensor:
        return self.loss(self.model, draw)


def fit(
    model: Model,
    loss: Loss,
    score: Score,
    folder: Path,
    config: LoopConfig,
    on_progress: Progress | None = None,
    processes: Processes | None = None,
    on_pace: Pace | None = None,
) -> Trained[Model]:
    """Train a model.

    ``loss(model, draw)`` draws the sequences of ``draw`` and returns a scalar, their mean. Everything needed to resume
    is written to ``folder/state.pt`` at every score; a second call with the same folder resumes there and gives the
    same weights. ``folder/log.csv`` holds step, loss, scores, learning rate, sequences a second and seconds;
    TensorBoard shows the same, where it is installed.

    Raises:
        DatasetError: the loss or its gradient is no longer a finite number; the last checkpoint stays.
        OptionError: the batch cannot be shared by the processes.
        WeightsError: the state in ``folder`` is damaged or of another network.
        OutputError: the state cannot be written.
    """
    processes = processes or Processes(torch.device("cpu"))
    device = processes.device
    folder.mkdir(parents=True, exist_ok=True)
    model.to(device)
    average = copy.deepcopy(model).eval()
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)
    parts: dict[str, Any] = {"model": model, "average": average, "optimiser": optimiser}
    best, kept, first, spent = -math.inf, copy.deepcopy(average.state_dict()), 0, 0.0
    if state := load_state(folder / "state.pt", parts, device):
        best, kept, first, spent = state["best"], state["kept"], state["step"], state["seconds"]
    for group in optimiser.param_groups:
        group.update(initial_lr=config.learning_rate, betas=config.betas)
    schedule = LambdaLR(optimiser, partial(_schedule, config), last_epoch=first - 1)
    objective = processes.wrap(_Objective(model, loss))
    log = TrainingLog(folder, first) if processes.main else None
    begun, paced = time.monotonic(), 0.0
    running, since, sane = torch.zeros((), device=device), first, torch.ones((), device=device)
    for step in range(first, config.steps):
        model.train()
        optimiser.zero_grad(set_to_none=True)
        for draw in draws(config, step, processes):
            together = draw.part // processes.count == config.accumulate - 1
            with nullcontext() if together else processes.no_sync(objective):
                value = objective(draw) / config.accumulate
                processes.backward(value)
            running = running + value.detach()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        sane = sane * norm.isfinite()
        optimiser.step()
        schedule.step()
        _update_average(average, model, min(config.ema, (step + 1) / (step + 10)))
        done, now = step + 1, time.monotonic()
        pace = (done - first) * config.batch / max(now - begun, 1e-9)
        left = (config.steps - done) * config.batch / pace
        scored = done % config.score_every == 0 or done == config.steps
        if on_pace and processes.main and (scored or now - paced > PACE_EVERY):
            on_pace(done, config.steps, pace, left)
            paced = now
        if not scored and done % CHECK_EVERY:
            continue
        total, whole = processes.mean(torch.stack([running, sane])).tolist()
        if whole < 1 or not math.isfinite(total):
            kept_at = done - 1 - (done - 1) % config.score_every
            raise DatasetError(
                f"training diverged at step {done}: the loss is {total if whole == 1 else math.nan}; the checkpoint of "
                f"step {kept_at} stays in {folder}, resume from it with a smaller learning rate"
            )
        if not scored:
            continue
        mean_loss = total / (done - since)
        running, since = torch.zeros_like(running), done
        ended = bool(config.minutes) and now - begun > 60 * config.minutes
        if log:
            with torch.inference_mode():
                columns = score(average)
            columns = dict(columns) if isinstance(columns, Mapping) else {"score": columns}
            best = max(best, columns["score"])
            if columns["score"] >= best - config.tolerance:
                kept = copy.deepcopy(average.state_dict())
            seconds = spent + time.monotonic() - begun
            row = {"step": float(done), "loss": mean_loss, **columns, "learning_rate": schedule.get_last_lr()[0]}
            row |= {"samples_per_second": round(pace, 2), "seconds": round(seconds, 1)}
            log.write(row)
            contents = {name: part.state_dict() for name, part in parts.items()}
            save_state(folder / "state.pt", contents | {"step": done, "best": best, "kept": kept, "seconds": seconds})
            if on_progress:
                on_progress(done, config.steps, row)
        if processes.mean(torch.tensor(float(ended), device=device)).item():
            break
    if log:
        log.close()
    last = copy.deepcopy(average)
    average.load_state_dict(kept)
    return Trained(average, last)


def draws(config: LoopConfig, step: int, processes: Processes) -> Iterator[Draw]:
    """The parts of a step's batch that this process computes; torch's own randomness is set for each.

    Raises:
        OptionError: the batch cannot be divided so.
    """
    count = config.accumulate * processes.count
    if config.batch % count:
        raise OptionError(
            f"batch is {config.batch}: give a multiple of {count}, for {processes.count} processes with accumulate "
            f"{config.accumulate}"
        )
    size = config.batch // count
    for part in range(processes.rank, count, processes.count):
        first = step * config.batch + part * size
        torch.manual_seed((config.seed * 1_000_003 + step) * 1009 + part)
        yield Draw(config.seed, step, part, range(first, first + size), config.precision)


def _schedule(config: LoopConfig, step: int) -> float:
    """Share of the peak learning rate at a step, counted from 0."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / max(1, config.steps - config.warmup)))


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(model.parameters()), 0)  # type: ignore[no-untyped-call]
    for kept, fresh in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(fresh)
