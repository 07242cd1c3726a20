"""The table of recipes, and the way from training data to weights, which is the same for all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from kptalk.device import pick_device
from kptalk.errors import OptionError, WeightsError
from kptalk.files import make_folder
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.networks.sync import SyncModel
from kptalk.render.latent.latents import LatentUNetConfig
from kptalk.train import a2l, audio, facemesh, head, lips, motion, sync
from kptalk.train.data import Inputs
from kptalk.train.frame_configs import L2V, VAE, L2VConfig, VaeConfig
from kptalk.train.loop import LoopConfig, Loss, Progress, Score, fit
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
    defaults: LoopConfig
    file: str = ""  # name of its own weights, if it is not the recipe's
    configs: dict[str, LoopConfig] = field(default_factory=dict)  # where there are several, how each is trained
    more: dict[str, str] = field(default_factory=dict)  # what else must be in the folder, by config


def save_network(path: Path, network: LipEnsemble | SyncModel, data: object) -> None:
    """Write a network that all of its header describes."""
    save_model(path, network, network.config, half=True)


def _of_pictures(
    name: str, configs: Mapping[str, VaeConfig] | Mapping[str, L2VConfig], more: dict[str, str]
) -> Recipe[Any, Any]:
    """A recipe that needs OpenCV and PyAV, which are not imported for packed clips."""

    def function(called: str) -> Callable[..., Any]:
        return lambda *arguments: getattr(import_module(f"kptalk.train.{name}"), called)(*arguments)

    functions = function("data"), function("build"), function("loss"), function("score"), function("save")
    loops = {each: config.loop for each, config in configs.items()}
    return Recipe(name, NEEDS[:1], *functions, loops["paper"], configs=loops, more=more)


NEEDS = ("facemesh", "audio")
IN_LATENTS = {name: "vae" for name, config in L2V.items() if isinstance(config.network, LatentUNetConfig)}
_TABLE = (  # in the order in which a model is trained
    Recipe("facemesh", (), facemesh.data, facemesh.build, None, None, facemesh.save, LoopConfig(1)),
    Recipe("audio", NEEDS[:1], load_clip_data, audio.build, audio.loss, audio.score, audio.save, audio.LOOP),
    Recipe("lips", NEEDS, lips.data, lips.build, lips.loss, lips.score, save_network, lips.LOOP),
    Recipe("motion", NEEDS, motion.data, motion.build, motion.loss, motion.score, motion.save, motion.LOOP),
    Recipe("a2l", NEEDS, a2l.data, a2l.build, a2l.loss, motion.score, a2l.save, motion.LOOP, configs=a2l.LOOPS),
    Recipe("head", NEEDS[:1], head.data, head.build, None, None, head.save, LoopConfig(1)),
    _of_pictures("vae", VAE, {}),
    _of_pictures("l2v", L2V, IN_LATENTS),
    # syncnet.safetensors is the official network
    Recipe("syncnet", (), sync.data, sync.build, sync.loss, sync.score, save_network, sync.LOOP, file="sync"),
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
    steps: int | None = None,
    seed: int = 0,
    minutes: float = 0,
    device: str = "auto",
    on_progress: Progress | None = None,
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
        config: of ``a2l``, ``vae`` and ``l2v``: ``smoke`` (to try that it runs), ``embedded`` or ``paper``; of ``l2v``
            also ``latent-smoke``, while ``vae`` has no ``embedded``.
        steps: optimiser steps; None for the recipe's own number.
        seed: of batches and initial weights.
        minutes: stop after this long; 0 for no limit.
        device: see ``kptalk.device``.
        on_progress: called at every score.

    Returns:
        the weights file.

    Raises:
        OptionError: no such recipe or config, or no steps.
        DatasetError: the training data cannot be used.
        WeightsError: a network that it needs is missing, or a file of the model is damaged.
        MissingExtra: latents are asked for, and ``diffusers`` is not installed.
        OutputError: the folder or a file in it cannot be written.
    """
    if name not in RECIPES:
        raise OptionError(f"no recipe is named {name!r}: give one of {', '.join(RECIPES)}")
    if steps is not None and steps < 1:
        raise OptionError(f"steps is {steps}: give 1 or more")
    recipe = RECIPES[name]
    loops = recipe.configs or {Inputs.config: recipe.defaults}
    if config not in loops:
        raise OptionError(f"{name} has no config {config!r}: give {', '.join(loops)}")
    file = recipe.file or name
    for need in (*recipe.needs, *filter(None, [recipe.more.get(config)])):
        if not (folder / f"{need}.safetensors").is_file():
            raise WeightsError(f"{name} needs {need}.safetensors, which is not in {folder}: train {need} first")
    inputs = Inputs(data, folder, seed, str(pick_device(device)), config)
    make_folder(folder)
    torch.manual_seed(seed)
    source = recipe.data(inputs)
    network = recipe.build(source)
    if recipe.loss and recipe.score:
        loop = replace(loops[config], steps=steps or loops[config].steps, seed=seed, minutes=minutes)
        loss, score = recipe.loss(source), recipe.score(source)
        network = fit(network, loss, score, folder / f"{file}.log", loop, on_progress, inputs.device)
    path = folder / f"{file}.safetensors"
    recipe.save(path, network, source)
    if name in CARDS or not (folder / MODEL_JSON).exists():
        write_model_json(folder, CARDS.get(name, facemesh_card)())
    if (folder / "head.safetensors").is_file():
        write_model_json(folder, open_model(folder).card.with_head())
    return path
