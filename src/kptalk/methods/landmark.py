"""The method of landmark-guided diffusion: speech to landmarks (A2L), landmarks to frames (L2V)."""

import torch

from kptalk.methods.base import DiffusionMethod, Precision
from kptalk.methods.facemesh import framing, load_generator, smoothing
from kptalk.motion.facemesh.generator import FaceMeshGenerator, FaceMeshMemory
from kptalk.motion.facemesh.reader import FaceMeshReader, FaceMeshReaderState
from kptalk.motion.facemesh.space import FaceMeshSource
from kptalk.motion.filters import gaussian
from kptalk.motion.landmark.space import LandmarkSpace
from kptalk.render.mesh.renderer import MeshRenderer, PreparedMesh
from kptalk.weights.model import ModelFolder

LandmarkMethod = DiffusionMethod[FaceMeshSource, FaceMeshMemory, FaceMeshReaderState, PreparedMesh, PreparedMesh]


def load(model: ModelFolder, device: torch.device, precision: Precision = "auto") -> LandmarkMethod:
    """Load the networks, which always compute in float32; the lip ensemble need not be there.

    Raises:
        WeightsError: files are missing or damaged.
    """
    space = load_space(model)
    return method(load_generator(model, space, "a2l", device), MeshRenderer(space))


def method(generator: FaceMeshGenerator, renderer: MeshRenderer) -> LandmarkMethod:
    """The method around a generator and a renderer."""
    space = generator.space
    reader = FaceMeshReader(space)
    return DiffusionMethod(space, reader, generator, smoothing(generator), gaussian.RADIUS, renderer, framing)


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
