"""One training loop for every network: seeded, resumable, with a moving average of the weights and a log."""

import copy
import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kptalk.errors import DatasetError, WeightsError
from kptalk.files import atomic_write

Loss = Callable[[nn.Module, np.random.Generator], Tensor]
Score = Callable[[nn.Module], float]
Progress = Callable[[int, int, dict[str, float]], None]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class LoopConfig:
    """How to train.

    Weights that score ``tolerance`` below the best are still preferred to earlier ones: the score, of a few people, is
    noisy, and does not see everything that goes on getting better.
    """

    steps: int
    learning_rate: float = 5e-4  # peak, reached after ``warmup`` steps; falls to zero along a cosine
    weight_decay: float = 0.05
    warmup: int = 100
    ema: float = 0.995  # decay of the moving average that is scored and kept
    score_every: int = 100  # steps
    tolerance: float = 0.0
    seed: int = 0  # of the batches and the dropout
    minutes: float = 0  # after which a call stops, to be resumed; 0 for no limit


def fit(
    model: Model,
    loss: Loss,
    score: Score,
    folder: Path,
    config: LoopConfig,
    on_progress: Progress | None = None,
    device: str = "cpu",
) -> Model:
    """Train a model and return its best moving average by ``score`` (higher is better), see ``tolerance``.

    ``loss(model, rng)`` draws a batch with the generator and returns a scalar. Everything needed to resume is written
    to ``folder/state.pt`` at every score; a second call with the same folder resumes there and gives the same weights.
    ``folder/log.csv`` holds step, loss, score and seconds.

    Raises:
        DatasetError: the loss is no longer a finite number.
        WeightsError: the state in ``folder`` is damaged or of another network.
        OutputError: the state cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.to(device)
    average = copy.deepcopy(model).eval()
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    parts: dict[str, Any] = {"model": model, "average": average, "optimiser": optimiser}
    best, kept, first, spent = -math.inf, copy.deepcopy(average.state_dict()), 0, 0.0
    state_file = folder / "state.pt"
    if state_file.exists():
        try:
            state = torch.load(state_file, weights_only=True, map_location=device)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            best, kept, first, spent = state["best"], state["kept"], state["step"], state["seconds"]
        except Exception as error:  # a damaged pickle raises anything
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise WeightsError(f"cannot resume from {state_file}: {reason}; delete it to restart") from error
    for group in optimiser.param_groups:
        group["initial_lr"] = config.learning_rate
    schedule = LambdaLR(optimiser, partial(_schedule, config), last_epoch=first - 1)
    begun, running = time.monotonic(), 0.0
    for step in range(first, config.steps):
        rng = np.random.default_rng([config.seed, step])
        torch.manual_seed(config.seed * 1_000_003 + step)
        model.train()
        value = loss(model, rng)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _update_average(average, model, min(config.ema, (step + 1) / (step + 10)))
        running += value.item()
        done = step + 1
        if done % config.score_every and done != config.steps:
            continue
        if not math.isfinite(running):
            raise DatasetError(f"training diverged at step {done}: the loss is {running}")
        mean_loss = running / ((done - 1) % config.score_every + 1)
        running = 0.0
        with torch.inference_mode():
            result = score(average)
        best = max(best, result)
        if result >= best - config.tolerance:
            kept = copy.deepcopy(average.state_dict())
        seconds = spent + time.monotonic() - begun
        row = {"step": float(done), "loss": mean_loss, "score": result, "seconds": round(seconds, 1)}
        with (folder / "log.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
        state = {name: part.state_dict() for name, part in parts.items()}
        with atomic_write(state_file) as temporary:
            torch.save(state | {"step": done, "best": best, "kept": kept, "seconds": seconds}, temporary)
        if on_progress:
            on_progress(done, config.steps, row)
        if config.minutes and time.monotonic() - begun > 60 * config.minutes:
            break
    average.load_state_dict(kept)
    return average


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
