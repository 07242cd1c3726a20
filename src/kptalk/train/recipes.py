"""The table of recipes, and the way from training data to weights, which is the same for all of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from kptalk.errors import OptionError, WeightsError
from kptalk.files import claimed, make_folder, write_bytes
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.networks.sync import SyncModel
from kptalk.render.latent.latents import LatentUNetConfig
from kptalk.train import a2l, audio, facemesh, head, lips, motion, sync
from kptalk.train.config import RecipeConfig, config_text, read_config
from kptalk.train.data import Inputs
from kptalk.train.frame_configs import L2V, VAE, L2VConfig
from kptalk.train.loop import LoopConfig, Loss, Pace, Progress, Score, fit
from kptalk.train.processes import open_processes
from kptalk.train.sampler import load_clip_data
from kptalk.weights.model import MODEL_JSON, facemesh_card, landmark_card, open_model, write_model_json
from kptalk.weights.store import save_model

Data = TypeVar("Data")
Model = TypeVar("Model")


@dataclass(frozen=True)
class Recipe(Generic[Data, Model]):
    """How one network of a model is trained; without ``loss`` and ``score``, ``build`` gives it in closed form."""

    name: str  # what ``kptalk train`` calls it
    needs: tuple[str, ...]  # weights that must be in the folder before, without ``.safetensors``
    data: Callable[[Inputs], Data]  # reads the training data and splits them by person
    build: Callable[[Data], Model]
    loss: Callable[[Data], Loss] | None  # see ``kptalk.train.loop.fit``
    score: Callable[[Data], Score] | None
    save: Callable[[Path, Model, Data], None]
    configs: Mapping[str, RecipeConfig] = field(default_factory=dict)  # none where the weights come in closed form
    file: str = ""  # name of its own weights, if it is not the recipe's

    def needed(self, config: RecipeConfig | None) -> tuple[str, ...]:
        """What a config needs in the folder."""
        in_latents = isinstance(config, L2VConfig) and isinstance(config.network, LatentUNetConfig)
        return (*self.needs, "vae") if in_latents else self.needs


def loops(embedded: LoopConfig) -> dict[str, RecipeConfig]:
    """The configs of a recipe of which only the training has a size: to try, of 48 minutes of data, of the paper's."""
    paper = replace(embedded, steps=20_000, batch=64, warmup=1000, ema=0.999, score_every=500)
    smoke = replace(motion.SMOKE_LOOP, batch=2)
    return {"smoke": RecipeConfig(smoke), "embedded": RecipeConfig(embedded), "paper": RecipeConfig(paper)}


def save_network(path: Path, network: LipEnsemble | SyncModel, data: object) -> None:
    """Write a network that all of its header describes."""
    save_model(path, network, network.config, half=True)


def _of_pictures(name: str, configs: Mapping[str, RecipeConfig]) -> Recipe[Any, Any]:
    """A recipe that needs OpenCV and PyAV, which are not imported for packed clips."""

    def function(called: str) -> Callable[..., Any]:
        return lambda *arguments: getattr(import_module(f"kptalk.train.{name}"), called)(*arguments)

    functions = function("data"), function("build"), function("loss"), function("score"), function("save")
    return Recipe(name, NEEDS[:1], *functions, configs)


NEEDS = ("facemesh", "audio")
_AUDIO, _LIPS, _SYNC = (loops(each.LOOP) for each in (audio, lips, sync))
_TABLE = (  # in the order in which a model is trained
    Recipe("facemesh", (), facemesh.data, facemesh.build, None, None, facemesh.save),
    Recipe("audio", NEEDS[:1], load_clip_data, audio.build, audio.loss, audio.score, audio.save, _AUDIO),
    Recipe("lips", NEEDS, lips.data, lips.build, lips.loss, lips.score, save_network, _LIPS),
    Recipe("motion", NEEDS, motion.data, motion.build, motion.loss, motion.score, motion.save, motion.CONFIGS),
    Recipe("a2l", NEEDS, a2l.data, a2l.build, a2l.loss, motion.score, a2l.save, a2l.CONFIGS),
    Recipe("head", NEEDS[:1], head.data, head.build, None, None, head.save),
    _of_pictures("vae", VAE),
    _of_pictures("l2v", L2V),
    # syncnet.safetensors is the official network
    Recipe("syncnet", (), sync.data, sync.build, sync.loss, sync.score, save_network, _SYNC, file="sync"),
)
# Whose weights make a folder a model of the method.
CARDS = {"motion": facemesh_card, "a2l": landmark_card, "vae": landmark_card, "l2v": landmark_card}
RECIPES: dict[str, Recipe[Any, Any]] = {recipe.name: recipe for recipe in _TABLE}


def train_network(
    name: str,
    data: Path,
    folder: Path,
    *,
    config: str = "embedded",
    changes: Sequence[str] = (),
    steps: int | None = None,
    seed: int = 0,
    minutes: float = 0,
    device: str = "auto",
    on_progress: Progress | None = None,
    on_pace: Pace | None = None,
) -> Path:
    """Train one network of a model, after those that it needs; an interrupted training is resumed.

    One person in ten is held out to choose the best weights by; nobody else's clips are used for that.

    Args:
        name: of a recipe: ``facemesh``, ``audio``, ``lips`` (without which the denoiser alone moves the mouth),
            ``motion`` and ``head`` (without which the denoiser moves the head), in this order; ``a2l`` in the place of
            ``motion`` for the method ``landmark``, whose pictures are drawn by ``l2v`` (without it, by the mesh
            renderer), in the latents of ``vae`` or in pixels; or ``syncnet``, the measure of lip sync, which needs no
            other.
        data: a dataset; for ``audio``, ``lips`` and ``motion`` also the file of packed clips that ``facemesh``
            wrote, small enough to travel to another machine.
        folder: of the model; also holds a log and a checkpoint for every network.
        config: ``smoke`` (to try that it runs), ``embedded``, ``paper``, or the path of a TOML file; of ``l2v`` also
            ``latent-smoke``, while ``vae`` has no ``embedded``; ``facemesh`` and ``head`` are fitted without one.
        changes: to fields of the config, ``field=value`` each; see ``kptalk.train.config``.
        steps: optimiser steps; None for the config's number.
        seed: of batches and initial weights.
        minutes: stop after this long; 0 for no limit.
        device: see ``kptalk.device``; each of several processes takes a card of its own.
        on_progress: called at every score, with what is written to the log.
        on_pace: called twice a second, with sequences a second and the seconds left.

    Returns:
        the weights file.

    Raises:
        OptionError: no such recipe, config or field, or no steps.
        DatasetError: the training data cannot be used.
        WeightsError: a network that it needs is missing, or a file of the model is damaged.
        MissingExtra: latents are asked for, and ``diffusers`` is not installed; or a launcher started several
            processes, and ``accelerate`` is not.
        OutputError: the folder or a file in it cannot be written, or another run is training this network there.
    """
    if name not in RECIPES:
        raise OptionError(f"no recipe is named {name!r}: give one of {', '.join(RECIPES)}")
    if steps is not None and steps < 1:
        raise OptionError(f"steps is {steps}: give 1 or more")
    recipe = RECIPES[name]
    own = {"steps": steps, "seed": seed, "minutes": minutes}
    settings = [f"loop.{key}={value}" for key, value in own.items() if value is not None]
    chosen = read_config(config, recipe.configs, [*changes, *settings]) if recipe.configs else None
    for need in recipe.needed(chosen):
        if not (folder / f"{need}.safetensors").is_file():
            raise WeightsError(f"{name} needs {need}.safetensors, which is not in {folder}: train {need} first")
    processes = open_processes(device)
    inputs = Inputs(data, folder, seed, str(processes.device), chosen)
    make_folder(folder)
    path = folder / f"{recipe.file or name}.safetensors"
    with claimed(path) if processes.main else nullcontext():
        torch.manual_seed(seed)
        with processes.main_first():
            source = recipe.data(inputs)
        network = recipe.build(source)
        if recipe.loss and recipe.score and chosen:
            log = path.with_suffix(".log")
            make_folder(log)
            if processes.main:
                write_bytes(log / "config.toml", config_text(chosen).encode())
            loss, score = recipe.loss(source), recipe.score(source)
            trained = fit(network, loss, score, log, chosen.loop, on_progress, processes, on_pace)
            network = trained.best
            if processes.main:
                recipe.save(log / "last.safetensors", trained.last, source)
        if processes.main:
            recipe.save(path, network, source)
            _write_card(name, folder)
    processes.wait()
    return path


def _write_card(name: str, folder: Path) -> None:
    """Make the folder a model of the method that the recipe belongs to."""
    if name in CARDS or not (folder / MODEL_JSON).exists():
        write_model_json(folder, CARDS.get(name, facemesh_card)())
    if (folder / "head.safetensors").is_file():
        write_model_json(folder, open_model(folder).card.with_head())
