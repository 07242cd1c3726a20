"""Foreign files become kptalk's: read without running anything in them, checked name by name, written with a header."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from kptalk.errors import WeightsError
from kptalk.weights.digest import sha256_of
from kptalk.weights.fetch import check_original
from kptalk.weights.lock import Record, record_file
from kptalk.weights.registry import Entry, converted_path
from kptalk.weights.store import check_tensors, save_model

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Training programs leave their settings beside the tensors. These names may occur; nothing of them is imported.
BOOKKEEPING = re.compile(
    r"(omegaconf|config|numpy|pathlib|typing|argparse|enum)\..+|builtins\.(dict|list|tuple|int|float|str|bool|object)"
    r"|collections\.defaultdict"
)


@dataclass(frozen=True)
class Network:
    """What a converted file is to hold.

    Attributes:
        model_class: the class that its tensors fill, built as ``model_class(config)``.
        config: the architecture numbers, for the header.
        prepare: makes the class's tensors of the original's where they differ, for example folds spectral norms.
    """

    model_class: type[nn.Module]
    config: DataclassInstance
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None


@dataclass(frozen=True)
class Numbers:
    """A converted file of named arrays without a network: their shapes, and a pattern of names that are left out."""

    shapes: Mapping[str, tuple[int, ...]]
    unused: str = ""

    def expected(self) -> dict[str, Tensor]:
        """Tensors of these names and shapes, without numbers."""
        return {name: torch.empty(shape, device="meta") for name, shape in self.shapes.items()}


def install(entry: Entry, original: Path, target: Network | Numbers | None, source: str) -> Path:
    """Convert an original file into the weights folder and record it in the lock file.

    Args:
        entry: which entry the file holds; its key, prefix and part say where in the file.
        original: the file.
        target: what must come of it; None: it is copied as it is (ONNX files, and ``.pth`` files with nothing but
            tensors in them).
        source: where the file came from, for the header and the lock file.

    Returns:
        The converted file.

    Raises:
        WeightsError: the file has another size or SHA-256 than the table says, is damaged, asks for more than tensors,
            or does not fit; the message names the file and the first tensors. Nothing is written then.
    """
    digest = check_original(entry, original)
    path = converted_path(entry)
    header = {"source": source, "original_sha256": digest, "licence": entry.licence}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(target, Network):
            save_model(path, _filled(target, _tensors(entry, original), original), target.config, header)
        else:
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as saving:
                whole = Path(saving) / path.name
                if target is None:
                    _copy(entry, original, whole)
                else:
                    save_file(_arrays(target, original), whole, metadata=header)
                os.replace(whole, path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write weights {path}: {error}") from error
    record = Record(source, str(original.absolute()), original.stat().st_size, digest, sha256_of(path))
    record_file(entry.name, record)
    return path


def read_checkpoint(path: Path) -> Any:
    """What ``torch.save`` put into a file: tensors and plain containers. Nothing that the file names is run.

    Settings of training programs (omegaconf and the like) come as ``None``-like placeholders.

    Raises:
        WeightsError: the file is damaged, or its pickle asks for anything else.
    """
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not the zip form, or damaged: loading says which
        foreign = []
    if refused := sorted(name for name in foreign if not BOOKKEEPING.fullmatch(name)):
        raise WeightsError(f"{path} is not loaded: its pickle asks for {', '.join(refused[:3])}, not only for tensors")
    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (_empty if name == "collections.defaultdict" else _Placeholder, name) for name in foreign
    ]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        reason = f"asks for {asked[1]}, not only for tensors" if asked else "is damaged or holds more than tensors"
        raise WeightsError(f"{path} is not loaded: its pickle {reason}") from error
    except Exception as error:  # damaged bytes may fail anywhere
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise WeightsError(f"{path} is damaged or no checkpoint: {reason}") from error


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
        held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        content = content.get(entry.key) if isinstance(content, dict) else None
        if content is None:
            raise WeightsError(f"{path} has no {entry.key!r} for {entry.name}; it holds {held[:160]}")
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no state dict for {entry.name}")
    named = {str(name).removeprefix(entry.prefix): value for name, value in content.items()}
    named = {name: value for name, value in named.items() if name.startswith(entry.part)}
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise WeightsError(f"{path} holds {name}, which is no tensor but {type(value).__name__}")
    return named


def _filled(target: Network, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The network with the original's numbers; built without memory of its own."""
    if target.prepare is not None:
        try:
            tensors = target.prepare(tensors)
        except (KeyError, IndexError, RuntimeError) as error:
            reason = f"no tensor {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise WeightsError(f"weights {path} do not fit their architecture: {reason}") from error
    with torch.device("meta"):
        model = target.model_class(target.config)
    expected = model.state_dict()
    # Files of 2017 and 2018 lack the counters of batch normalisation, which nothing reads.
    counters = {name for name in {*expected, *tensors} if name.endswith("num_batches_tracked")}
    found = {name: value for name, value in tensors.items() if name in expected or name not in counters}
    found |= {name: torch.zeros((), dtype=torch.int64) for name in counters & {*expected} - {*found}}
    check_tensors(path, {name: tuple(value.shape) for name, value in found.items()}, expected)
    model.load_state_dict({name: found[name].to(value.dtype) for name, value in expected.items()}, assign=True)
    return model


def _arrays(target: Numbers, path: Path) -> dict[str, Tensor]:
    """The arrays of an ``.npz`` file as float32."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], np.float32) for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path} is damaged or no .npz file of numbers: {error}") from error
    found = {name: torch.from_numpy(value) for name, value in arrays.items() if not re.fullmatch(target.unused, name)}
    check_tensors(path, {name: tuple(value.shape) for name, value in found.items()}, target.expected())
    return found


def _copy(entry: Entry, original: Path, whole: Path) -> None:
    if entry.form == "pth":  # others load it as a full pickle, so it must be harmless
        _tensors(entry, original)
    shutil.copyfile(original, whole)
