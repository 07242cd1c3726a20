"""Models in safetensors files that hold their own architecture: loading needs no other file.

The header's metadata: ``architecture`` (class name), ``config`` (its dataclass as JSON), and whatever the caller adds
(licence, training data, date). Loading is strict: the file fits the class exactly, or one line says what does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from kptalk.errors import WeightsError
from kptalk.files import atomic_write, explain
from kptalk.networks.no_init import NoInit
from kptalk.weights.header import RENAMED, opened

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LARGEST_SIZE = 4096  # of any number in an architecture
Model = TypeVar("Model", bound=nn.Module)


def save_model(
    path: str | Path,
    model: nn.Module,
    config: DataclassInstance,
    extra: Mapping[str, str] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a model with its architecture; the file appears under its name only when it is complete.

    Args:
        path: where to; an existing file is replaced.
        model: its state dict is stored.
        config: the dataclass the model was built from; its fields must be JSON values or tuples of them.
        extra: more metadata.
        half: store floating-point numbers as float16 (half the size; loading gives float32 again).

    Raises:
        WeightsError: a number does not fit float16, or the file cannot be written.
    """
    tensors = {name: _stored(path, name, value, half) for name, value in model.state_dict().items()}
    header = {**(extra or {}), "architecture": type(model).__name__, "config": json.dumps(asdict(config))}
    save_tensors(path, tensors, header)


def save_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file; it appears under its name only when it is complete.

    Raises:
        WeightsError: the file cannot be written.
    """
    try:
        with atomic_write(path, WeightsError) as temporary:
            save_file(tensors, temporary, metadata=header)
    except SafetensorError as error:
        raise WeightsError(f"cannot write {path}: {explain(error)}") from error


def load_model(path: str | Path, model_class: type[Model], config_class: type[DataclassInstance]) -> Model:
    """Build the model that a file describes and fill it: float32, on the CPU, in eval mode.

    Args:
        path: a file that ``save_model`` wrote.
        model_class: the class expected; built as ``model_class(config)``.
        config_class: its dataclass of architecture numbers.

    Raises:
        WeightsError: the file is absent or damaged, holds another architecture, other tensors than the class has, or
            numbers that are not finite.
    """
    with opened(path, "pt") as file:
        with torch.device("meta"):  # takes no memory, whatever the header says
            model = _build(path, header := file.metadata() or {}, model_class, config_class)
        expected = model.state_dict()
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        check_shapes(path, found, shapes(expected))
        # A copy: what is read from the disk later may have changed by then.
        tensors = {name: file.get_tensor(name).to(value.dtype, copy=True) for name, value in expected.items()}
    check_finite(path, tensors)
    model.load_state_dict(tensors, assign=True)
    if any(buffer.is_meta for buffer in model.buffers()):  # of those that are not saved
        model = _build(path, header, model_class, config_class)
        model.load_state_dict(tensors)
    return model.eval()


def _stored(path: str | Path, name: str, value: Tensor, half: bool) -> Tensor:
    # A copy: safetensors refuses tensors that share memory, and the denoiser's rotary frequencies do.
    value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if not (half and value.is_floating_point()):
        return value
    rounded = value.half()
    if not torch.equal(rounded.isfinite(), value.isfinite()):
        raise WeightsError(f"cannot write {path}: {name} reaches {value.abs().max():.3g}, which overflows float16")
    return rounded


def _build(path: str | Path, header: dict[str, str], model_class: type[Model], config_class: type[Any]) -> Model:
    found = header.get("architecture", "")
    found = RENAMED.get(found, found)
    if found != model_class.__name__:
        raise WeightsError(f"weights {path} hold {found or 'no kptalk model'}, expected {model_class.__name__}")
    try:
        fields = json.loads(header["config"])
        if "input_skip" in fields:  # what the denoiser's ``prediction`` was before 0.1.0
            fields["prediction"] = "v" if fields.pop("input_skip") else "epsilon"
        config = config_class(**{name: _tupled(value) for name, value in fields.items()})
        if any(np.max(value) > LARGEST_SIZE for value in fields.values() if not isinstance(value, str)):
            raise ValueError(f"a size is above {LARGEST_SIZE}")
        with NoInit():
            return model_class(config)
    except (KeyError, AttributeError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"weights {path} have an invalid {model_class.__name__} config: {reason}") from error


def _tupled(value: Any) -> Any:
    """JSON has no tuples; the dataclasses have no lists."""
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


Shapes = Mapping[str, Sequence[int]]


def shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shape of every tensor."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def check_shapes(path: str | Path, found: Shapes, expected: Shapes) -> None:
    """Compare the names and shapes in a file with those of the network that it is to fill.

    Raises:
        WeightsError: a tensor is missing, unexpected or misshaped; the message names the first two of each kind.
    """
    wrong = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "misshaped": [
            f"{name} {tuple(found[name])} instead of {tuple(shape)}"
            for name, shape in expected.items()
            if name in found and tuple(found[name]) != tuple(shape)
        ],
    }
    listed = [
        f"{len(names)} {kind} ({', '.join(names[:2])}{', ..' * (len(names) > 2)})"
        for kind, names in wrong.items()
        if names
    ]
    if listed:
        raise WeightsError(f"weights {path} do not fit the architecture: tensors {'; '.join(listed)}")


def check_finite(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Look for numbers that no trained network has.

    Raises:
        WeightsError: a tensor holds NaN or infinity; the message names the first.
    """
    for name, value in tensors.items():
        # The sum is ten times as fast as looking at every number; it may overflow where these are finite.
        if not value.sum(dtype=torch.float32).isfinite() and not value.isfinite().all():
            raise WeightsError(f"weights {path} are not finite: {name} holds NaN or infinity")
