"""The paper's ablation tables from our own measurements: variants of the motion denoiser, trained and measured alike.

Every variant is trained with the same config and seeds on the same clips, and measured on people held out; weights are
the last moving average, so that nothing is chosen by the people that it is measured on. A cell that is done is not done
again, one that was interrupted goes on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save as serialise
from safetensors.torch import load_file
from scipy.stats import t as student
from torch import Tensor, nn

from kptalk.errors import OptionError
from kptalk.files import make_folder, write_bytes
from kptalk.motion.facemesh.generator import N_POSE
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.train import facemesh, generators, motion
from kptalk.train.config import read_config
from kptalk.train.data import Inputs
from kptalk.train.facemesh import align_clip, fit_space, fit_template
from kptalk.train.lag import load_judge
from kptalk.train.loop import Pace, fit
from kptalk.train.motion import FeatureStore, MotionConfig, MotionData
from kptalk.train.processes import open_processes
from kptalk.train.quality import COLUMNS, Column, HeldOut
from kptalk.types import Array
from kptalk.weights.model import open_model
from kptalk.weights.store import save_tensors

TITLES = {
    3: "What the denoiser is made of",
    4: "Generators with the same backbone",
    5: "Keypoints of the motion space",
    6: "Denoising steps",
    7: "Frames of a window",
}
STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
RESULTS, PAGE = "results.csv", "ablations.md"
Notice = Callable[[str], None]


class FaceMesh15(FaceMeshSpace):
    """The motion space with 15 control points."""

    id, keypoints, sizes = "facemesh15", 15, {21: 15, 63: 45}


SPACES: dict[int, type[FaceMeshSpace]] = {21: FaceMeshSpace, 15: FaceMesh15}


@dataclass(frozen=True)
class Variant:
    """One row of a table: what is trained, and how it is sampled.

    Attributes:
        table, name: where it stands.
        generator: one of ``kptalk.train.generators.KINDS``.
        keypoints: of the motion space.
        canonical, attention, rotary: whether the denoiser has these.
        window: frames; 0 for the config's.
        steps: of the sampler.
    """

    table: int
    name: str
    generator: str = "diffusion"
    keypoints: int = 21
    canonical: bool = True
    attention: bool = True
    rotary: bool = True
    window: int = 0
    steps: int = 10

    @property
    def weights(self) -> str:
        """Name of what is trained, which rows may share."""
        lacks = [name for name in ("canonical", "attention", "rotary") if not getattr(self, name)]
        parts = [self.generator.replace("+", "-"), str(self.keypoints), *(f"no-{name}" for name in lacks)]
        return "_".join([*parts, *([f"window-{self.window}"] if self.window else [])])

    def config(self, base: MotionConfig, seed: int) -> MotionConfig:
        """What it is trained with: as many frames a step, whatever the window."""
        window = self.window or base.network.window
        network = replace(
            base.network,
            window=window,
            token_dim=N_POSE + 3 * self.keypoints,
            attention=self.attention,
            rotary_dim=base.network.rotary_dim if self.rotary else 0,
        )
        loop = replace(base.loop, seed=seed, batch=base.loop.batch * base.network.window // window)
        return replace(base, network=network, loop=loop, canonical=self.canonical)


VARIANTS = (
    Variant(3, "full"),
    Variant(3, "without the canonical reference", canonical=False),
    Variant(3, "without attention", attention=False),
    Variant(3, "without RoPE", rotary=False),
    *(Variant(4, kind, generator=kind) for kind in reversed(generators.KINDS)),
    *(Variant(5, f"{count} keypoints", keypoints=count) for count in (15, 21)),
    *(Variant(6, f"{steps} steps", steps=steps) for steps in STEPS),
    *(Variant(7, f"{window} frames", window=window) for window in (8, 16, 32)),
    Variant(7, "64 frames"),
)


def ablate(
    data: Path,
    folder: Path,
    *,
    tables: Sequence[int] = tuple(TITLES),
    config: str = "embedded",
    changes: Sequence[str] = (),
    seeds: int = 3,
    model: str = "embedded",
    device: str = "auto",
    notice: Notice | None = None,
    on_pace: Pace | None = None,
) -> Path:
    """Train and measure the variants of some tables; returns the Markdown page, ``results.csv`` lies beside it.

    The motion spaces are fitted to the data; the audio encoder is that of ``model``.

    Args:
        data: the dataset.
        folder: for weights, numbers and the page; what is there already is not done again.
        tables: of 3 to 7.
        config: of the recipe ``motion``, see ``kptalk.train.config``.
        changes: to its fields, for all variants.
        seeds: trainings of every variant, over which the intervals are.
        model: name or folder of a model with an audio encoder.
        device: see ``kptalk.device``.
        notice: told of every cell.
        on_pace: see ``kptalk.train.loop``.

    Raises:
        OptionError: no such table or config.
        DatasetError: the dataset cannot be used.
        WeightsError: the model has no audio encoder.
        OutputError: the folder cannot be written.
    """
    if unknown := sorted(set(tables) - set(TITLES)):
        raise OptionError(f"tables is {', '.join(map(str, unknown))}: give some of {', '.join(map(str, TITLES))}")
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give 1 or more")
    chosen = read_config(config, motion.CONFIGS, changes)
    make_folder(folder)
    results = Results(folder / RESULTS)
    cells = [(seed, each) for seed in range(seeds) for each in VARIANTS if each.table in tables]
    bench = _Bench(data, folder, model, device, on_pace)
    for number, (seed, variant) in enumerate(cells, 1):
        if not results.has(variant, seed):
            if notice:
                notice(f"{number}/{len(cells)}: table {variant.table}, {variant.name}, seed {seed}")
            results.add(variant, seed, bench.measure(variant, chosen, seed))
            write_bytes(folder / PAGE, page(results, f"`{config}`, {chosen.loop.steps} steps").encode())
    write_bytes(folder / PAGE, page(results, f"`{config}`, {chosen.loop.steps} steps").encode())
    return folder / PAGE


class Results:
    """The rows of ``results.csv``: table, variant, seed and the columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = list(csv.DictReader(file))

    def has(self, variant: Variant, seed: int) -> bool:
        """Whether a cell is done."""
        wanted = (str(variant.table), variant.name, str(seed))
        return any((row["table"], row["variant"], row["seed"]) == wanted for row in self.rows)

    def add(self, variant: Variant, seed: int, values: dict[str, float]) -> None:
        """Keep the numbers of a cell; the file is replaced when it is complete."""
        numbers = {column.key: f"{values[column.key]:.6g}" for column in COLUMNS}
        self.rows.append({"table": str(variant.table), "variant": variant.name, "seed": str(seed), **numbers})
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]))
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self._path, text.getvalue().encode())

    def of(self, variant: Variant, column: Column) -> list[float]:
        """A column's numbers over the seeds."""
        rows = [row for row in self.rows if (row["table"], row["variant"]) == (str(variant.table), variant.name)]
        return [float(row[column.key]) for row in rows]


class _Bench:
    """Trains and measures variants; what they share is made once."""

    def __init__(self, data: Path, folder: Path, model: str, device: str, on_pace: Pace | None) -> None:
        self._data, self._folder, self._on_pace = data, folder, on_pace
        self._audio = open_model(model).file("audio")
        self._processes, self._judge = open_processes(device), load_judge()
        self._features: dict[int, FeatureStore] = {}  # by seed; the sound is the same in all motion spaces

    def measure(self, variant: Variant, config: MotionConfig, seed: int) -> dict[str, float]:
        """The columns of a variant."""
        own, device = variant.config(config, seed), self._processes.device
        inputs = Inputs(self._data, self._space_folder(variant.keypoints), seed, str(device), own)
        source = motion.data(inputs, SPACES[variant.keypoints])
        source = replace(source, features=self._features.setdefault(seed, source.features))
        trained = self._trained(variant, source, seed)
        store = FeatureStore(source.held_out, source.encoder, source.mel_mean, seed, 0)
        held_out = HeldOut.of(source.space, source.held_out, store, own.canonical)

        def draw(references: Tensor, audio: Tensor, noise: Tensor) -> Tensor:
            return generators.draw_window(
                trained, references.to(device), audio.to(device), noise.to(device), variant.steps
            )

        tokens, cpu = held_out.generate(draw, own.network.window, seed)
        return {**held_out.measure(tokens, self._judge), "cpu": cpu}

    def _trained(self, variant: Variant, source: MotionData, seed: int) -> nn.Module:
        """The last moving average of a variant's weights; its checkpoint is removed when it is trained."""
        log = self._folder / "models" / f"{variant.weights}-seed{seed}"
        torch.manual_seed(seed)
        network, file = (
            generators.build(variant.generator, source).to(self._processes.device),
            log / "weights.safetensors",
        )
        make_folder(log)
        if not file.exists():
            loss = generators.loss(variant.generator, source)
            trained = fit(
                network, loss, _no_score, log, source.config.loop, processes=self._processes, on_pace=self._on_pace
            )
            save_tensors(file, {name: value.clone() for name, value in trained.last.state_dict().items()}, {})
            (log / "state.pt").unlink()
        network.load_state_dict(load_file(file, str(self._processes.device)))
        return network.eval()

    def _space_folder(self, keypoints: int) -> Path:
        """A folder with the motion space of so many keypoints, fitted to the data, and the audio encoder."""
        folder = self._folder / f"space-{keypoints}"
        make_folder(folder)
        if not (folder / "audio.safetensors").exists():
            write_bytes(folder / "audio.safetensors", self._audio.read_bytes())
        if not (folder / "facemesh.safetensors").exists():
            inputs = Inputs(self._data, folder, 0, str(self._processes.device))
            landmarks = [clip.landmarks for clip in facemesh.data(inputs)]
            template = fit_template(landmarks)
            tensors = fit_space([align_clip(each, template) for each in landmarks], template, keypoints)
            write_bytes(folder / "facemesh.safetensors", serialise(tensors))
        return folder


def _no_score(model: nn.Module) -> float:
    """Nothing is chosen by a score."""
    return 0.0


def page(results: Results, config: str) -> str:
    """The tables as Markdown: means over the seeds with 95 % intervals (Student's t)."""
    parts = [f"Config {config}. People held out; means over seeds with 95 % intervals (Student's t).\n"]
    for table, title in TITLES.items():
        rows = [each for each in VARIANTS if each.table == table and results.of(each, COLUMNS[0])]
        if rows:
            parts.append(f"## Table {table}: {title}\n\n" + "\n".join(_rows(rows, results)) + "\n")
    return "\n".join(parts)


def _rows(variants: Sequence[Variant], results: Results) -> Iterator[str]:
    arrows = {"higher": "↑", "lower": "↓", "real": "≈ 1"}
    yield "| | seeds | " + " | ".join(f"{column.title} {arrows[column.better]}" for column in COLUMNS) + " |"
    yield "|---|---|" + "---|" * len(COLUMNS)
    for each in variants:
        found = [results.of(each, column) for column in COLUMNS]
        yield f"| {each.name} | {len(found[0])} | " + " | ".join(map(_shown, found)) + " |"


def _shown(values: Sequence[float]) -> str:
    """Mean and half the width of its interval, which one value has not."""
    numbers: Array = np.asarray(values, np.float32)
    if len(numbers) < 2:
        return f"{numbers.mean():.3g}"
    half = student.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / len(numbers) ** 0.5
    return f"{numbers.mean():.3g} ± {half:.2g}"
