"""The methods: a new one is a file here, with ``load`` and ``load_reader``, and a name in ``METHODS``."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch

from kptalk.errors import WeightsError
from kptalk.methods.base import Method, Precision
from kptalk.motion.generator import FPS, WINDOW
from kptalk.motion.space import MotionReader
from kptalk.weights.model import ModelFolder


class Loaders(NamedTuple):
    """``load`` makes the whole method of a model folder, ``load_reader`` only what reads videos.

    With the precision ``auto`` a method may compute in bfloat16 where the processor does so natively.
    """

    load: Callable[[ModelFolder, torch.device, Precision], Method]
    load_reader: Callable[[ModelFolder, torch.device], MotionReader[Any]]


METHODS = ("facemesh", "kdtalker", "landmark")


def loaders_of(model: ModelFolder) -> Loaders:
    """What loads a model.

    Raises:
        WeightsError: this version does not know its method, or draws at another rate or in other windows.
    """
    if model.method not in METHODS:
        raise WeightsError(f"{model.path} is for the method {model.method!r}; this version has {', '.join(METHODS)}")
    if model.card.fps != FPS or model.card.window != WINDOW:
        raise WeightsError(f"{model.path} is not for {FPS} fps and windows of {WINDOW} frames, as this version is")
    module = import_module(f"{__name__}.{model.method}")  # of the others nothing is loaded
    return Loaders(module.load, module.load_reader)
