"""The method of landmark-guided diffusion: speech to landmarks (A2L), landmarks to frames (L2V)."""

import torch

from kptalk.methods.base import Method, Precision
from kptalk.methods.facemesh import load_generator, refinable
from kptalk.motion.facemesh.reader import FaceMeshReader
from kptalk.motion.landmark.space import LandmarkSpace
from kptalk.weights.model import ModelFolder


def load(model: ModelFolder, device: torch.device, precision: Precision = "auto") -> Method:
    """Load the networks, which always compute in float32; without those of L2V the mesh renderer draws.

    Raises:
        WeightsError: files are missing or damaged.
        MissingExtra: L2V works in latents, and ``diffusers`` is not installed.
    """
    return refinable(load_generator(model, load_space(model), "a2l", device), model, device, refine=True)


def load_space(model: ModelFolder) -> LandmarkSpace:
    """The motion space, without the networks.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return LandmarkSpace.load(model.file("facemesh"))


def load_reader(model: ModelFolder, device: torch.device) -> FaceMeshReader:
    """What reads videos, without the networks.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return FaceMeshReader(load_space(model))
