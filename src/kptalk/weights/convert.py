"""Foreign files become kptalk's: read without running anything in them, checked name by name, written with a header."""

from __future__ import annotations

import pickle
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.errors import WeightsError
from kptalk.files import atomic_write, explain, sha256
from kptalk.weights.fetch import check_original
from kptalk.weights.lock import Record, record_file
from kptalk.weights.model import OFFICIAL, write_model_json
from kptalk.weights.registry import Entry, converted_path, make_weights_folder
from kptalk.weights.store import check_finite, check_shapes, save_model, save_tensors, shapes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Training programs leave their settings beside the tensors. These names may occur; nothing of them is imported.
BOOKKEEPING = re.compile(
    r"(omegaconf|config|numpy|pathlib|typing|argparse|enum)\..+|builtins\.(dict|list|tuple|int|float|str|bool|object)"
    r"|collections\.defaultdict"
)


@dataclass(frozen=True)
class Network:
    """A converted file that holds a network."""

    model_class: type[nn.Module]  # built as ``model_class(config)``
    config: DataclassInstance  # the architecture numbers, for the header
    # Turns the original's tensors into the class's if they differ, for example folds spectral norms.
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None


@dataclass(frozen=True)
class Numbers:
    """A converted file of named arrays without a network."""

    shapes: Mapping[str, tuple[int, ...]]  # of the arrays, by name
    positive: str = ""  # a pattern of the names whose numbers must all be above zero
    unused: str = ""  # a pattern of names that are left out

    def check(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """See that the arrays are the expected ones and can be used.

        Raises:
            WeightsError: one is missing, unexpected, misshaped, not finite, or not above zero where it must be.
        """
        check_shapes(path, shapes(tensors), self.shapes)
        check_finite(path, tensors)
        for name, value in tensors.items():
            if re.fullmatch(self.positive, name) and not (value > 0).all():
                raise WeightsError(f"{path} cannot be used: {name} must be above zero, found {value.min():g}")


def install(entry: Entry, original: Path, target: Network | Numbers | None, source: str) -> Path:
    """Convert an original file into the weights folder and record it in the lock file.

    Args:
        entry: which entry the file holds; its key, prefix and part say where in the file.
        original: the file.
        target: what the converted file holds; None: a copy of the original (ONNX files).
        source: where the file came from, for the header and the lock file.

    Returns:
        The converted file.

    Raises:
        WeightsError: the file has another size or SHA-256 than expected, is damaged, asks for more than tensors, or
            does not fit; the message names the file and the first tensors. Nothing is written then.
    """
    digest = check_original(entry, original)
    header = {"source": source, "original_sha256": digest, "licence": entry.licence}
    make_weights_folder()
    path = converted_path(entry)
    if isinstance(target, Network):
        save_model(path, _filled(target, _tensors(entry, original), original), target.config, header)
    elif isinstance(target, Numbers):
        save_tensors(path, _arrays(target, original), header)
    else:
        with atomic_write(path, WeightsError) as temporary:
            shutil.copyfile(original, temporary)
    record = Record(source, str(original.absolute()), original.stat().st_size, digest, sha256(path))
    record_file(entry.name, record)
    write_model_json(path.parent, OFFICIAL)
    return path


def read_checkpoint(path: Path) -> object:
    """The content of a file of ``torch.save``: tensors and plain containers. Nothing that the file names is run.

    Settings of training programs (omegaconf and the like) are replaced by empty placeholders.

    Raises:
        WeightsError: the file is damaged, or its pickle asks for anything else.
    """
    _check_crc(path)
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not the zip form, or damaged: loading says which
        foreign = []
    if refused := sorted(name for name in foreign if not BOOKKEEPING.fullmatch(name)):
        raise WeightsError(f"{path}: refusing to unpickle {', '.join(refused[:3])}: only tensors are allowed")
    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (_empty if name == "collections.defaultdict" else _Placeholder, name) for name in foreign
    ]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
            return content
    except pickle.UnpicklingError as error:
        if asked := re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error)):
            raise WeightsError(f"{path}: refusing to unpickle {asked[1]}: only tensors are allowed") from error
        raise WeightsError(f"{path} is damaged or holds more than tensors") from error
    except Exception as error:  # damaged bytes may fail anywhere
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise WeightsError(f"{path} is damaged or not a checkpoint: {reason}") from error


def _check_crc(path: Path) -> None:
    """Torch reads the zip form without looking at its checksums."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except Exception as error:  # damaged bytes may fail anywhere
        raise WeightsError(f"{path} is damaged: {explain(error)}") from error
    if damaged:
        raise WeightsError(f"{path} is damaged: wrong CRC-32 of {damaged}")


class _Placeholder:
    """Stands for an object of a training program; takes whatever it is given and keeps nothing."""

    def __new__(cls, *_: object) -> _Placeholder:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _empty(*_: object) -> dict[object, object]:
    return {}  # a plain one, since torch fills no other kind


def _tensors(entry: Entry, path: Path) -> dict[str, Tensor]:
    """The entry's tensors by the names that the class uses."""
    content = read_checkpoint(path)
    if entry.key is not None:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        content = content.get(entry.key) if isinstance(content, dict) else None
        if content is None:
            raise WeightsError(f"{path} has no {entry.key!r} for {entry.name}; it holds {found[:160]}")
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no state dict for {entry.name}")
    named = {str(name).removeprefix(entry.prefix): value for name, value in content.items()}
    named = {name: value for name, value in named.items() if name.startswith(entry.part)}
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise WeightsError(f"{path}: {name} is not a tensor but {type(value).__name__}")
        if value.is_complex() or value.is_meta or value.layout != torch.strided:
            raise WeightsError(f"{path}: {name} is not a dense tensor of real numbers ({value.dtype}, {value.layout})")
    return named


def _filled(target: Network, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The network with the original's numbers; built without memory of its own."""
    if target.prepare is not None:
        try:
            tensors = target.prepare(tensors)
        except (KeyError, IndexError, RuntimeError) as error:
            reason = f"no tensor {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise WeightsError(f"weights {path} do not fit the architecture: {reason}") from error
    with torch.device("meta"):
        model = target.model_class(target.config)
    expected = model.state_dict()
    # Files of 2017 and 2018 lack the counters of batch normalisation, which nothing reads.
    counters = {name for name in {*expected, *tensors} if name.endswith("num_batches_tracked")}
    found = {name: value for name, value in tensors.items() if name in expected or name not in counters}
    found |= {name: torch.zeros((), dtype=torch.int64) for name in counters & {*expected} - {*found}}
    check_shapes(path, shapes(found), shapes(expected))
    for name, value in expected.items():
        if value.is_floating_point() and not found[name].is_floating_point():
            raise WeightsError(f"{path}: {name} has dtype {found[name].dtype}, expected floating-point numbers")
        found[name] = found[name].to(value.dtype)
    check_finite(path, found)
    model.load_state_dict(found, assign=True)
    return model


def _arrays(target: Numbers, path: Path) -> dict[str, Tensor]:
    """The arrays of an ``.npz`` file as float32."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            used = [name for name in file.files if not re.fullmatch(target.unused, name)]
            arrays = {name: torch.from_numpy(file[name]) for name in used}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path} is damaged or not an .npz file of numbers: {explain(error)}") from error
    for name, value in arrays.items():
        if not value.is_floating_point():
            raise WeightsError(f"{path}: {name} has dtype {value.dtype}, expected floating-point numbers")
    found = {name: value.float() for name, value in arrays.items()}
    target.check(path, found)
    return found
