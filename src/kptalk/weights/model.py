"""A model is a folder that knows what it is: ``model.json`` names its method, its files and its licence."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np

from kptalk.errors import WeightsError
from kptalk.files import explain, sha256, write_bytes
from kptalk.types import Array
from kptalk.weights.header import embedded_folder, read_header
from kptalk.weights.registry import ENTRIES, weights_folder

MODEL_JSON = "model.json"
NAMES = ("embedded", "landmark", "official")
HEADS = ("process", "diffusion")  # how a model draws the head's pose
N_MELS, LARGEST_LEVEL = 80, 10.0  # bands of a mel frame, and levels that none of them reaches


@dataclass(frozen=True)
class ModelCard:
    """The content of ``model.json``."""

    method: str  # name in ``kptalk.methods.METHODS``
    files: dict[str, str]  # file names in the folder, by what they are
    optional: tuple[str, ...] = ()  # of these, what the model works without
    fps: int = 25  # frames per second that the motion was trained at
    window: int = 64  # frames that the generator draws together
    licence: str = "not stated"  # under which terms the weights may be used
    card: str = ""  # file in the folder that says what they were trained on
    head: str = "diffusion"  # how the head's pose is drawn; "process" needs the file "head"

    def with_head(self) -> "ModelCard":
        """The same model with the head that ``kptalk train head`` makes."""
        return replace(self, files={**self.files, "head": "head.safetensors"}, head="process")


OFFICIAL = ModelCard(
    method="kdtalker",
    files={entry.name: entry.converted for entry in ENTRIES.values() if entry.set == "official"},
    licence="of each file its own, mostly non-commercial: kptalk models official",
)


def facemesh_card(licence: str = "not stated") -> ModelCard:
    """What ``kptalk train`` makes."""
    names = ("facemesh", "audio", "lips", "motion")
    return ModelCard("facemesh", {name: f"{name}.safetensors" for name in names}, optional=("lips",), licence=licence)


def landmark_card(licence: str = "not stated") -> ModelCard:
    """What ``kptalk train a2l`` makes."""
    files = {name: f"{name}.safetensors" for name in ("facemesh", "audio", "lips", "a2l", "l2v", "vae")}
    return ModelCard("landmark", files, optional=("lips", "l2v", "vae"), licence=licence)


@dataclass(frozen=True)
class ModelFolder:
    """A model that is on this machine; ``name`` is what the user called it."""

    name: str
    path: Path
    card: ModelCard = field(repr=False)

    @property
    def method(self) -> str:
        """Name in ``kptalk.methods.METHODS``."""
        return self.card.method

    @property
    def official(self) -> bool:
        """Whether these are the converted files of the registry."""
        return self.card == OFFICIAL

    def file(self, name: str) -> Path:
        """The file of one network.

        Raises:
            WeightsError: it is not there.
        """
        path = self.path / self.card.files.get(name, f"{name}.safetensors")
        if not path.is_file():
            raise WeightsError(f"missing weights: {path}")
        return path

    def optional_file(self, name: str) -> Path | None:
        """The file of a network that need not be there; None where it is not."""
        path = self.path / self.card.files.get(name, f"{name}.safetensors")
        return path if path.is_file() else None

    def missing(self) -> list[str]:
        """What the model needs and has not."""
        needed = {name: file for name, file in self.card.files.items() if name not in self.card.optional}
        return [name for name, file in needed.items() if not (self.path / file).is_file()]

    def require_all(self) -> None:
        """Make sure that all files are here.

        Raises:
            WeightsError: some are missing, all of which the message names.
        """
        if names := self.missing():
            get = ": run `kptalk weights pull`, or `kptalk weights convert FOLDER` with your own copies"
            raise WeightsError(f"missing {self.name} weights: {', '.join(names)}{get if self.official else ''}")

    def digest(self) -> str:
        """SHA-256 of all that the model is.

        Raises:
            WeightsError: files are missing, or cannot be read.
        """
        self.require_all()
        there = {what: path for what in self.card.files if (path := self.optional_file(what)) is not None}
        facts = [self.method, self.card.head, {what: sha256(path) for what, path in there.items()}]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def size(self) -> int:
        """Bytes of the files that are here."""
        paths = [self.path / file for file in self.card.files.values()]
        return sum(path.stat().st_size for path in paths if path.is_file())


def open_model(name: str | PathLike[str]) -> ModelFolder:
    """The model of a name, ``embedded``, ``landmark`` or ``official``, or of a folder.

    Raises:
        WeightsError: there is no such folder, or its ``model.json`` is absent or damaged.
    """
    if str(name) == "official":
        return ModelFolder("official", weights_folder(), OFFICIAL)
    shipped = {"embedded": embedded_folder(), "landmark": embedded_folder() / "landmark"}
    path = shipped.get(str(name), Path(name))
    try:
        content = json.loads((path / MODEL_JSON).read_text())
        card = ModelCard(**{**content, "optional": tuple(content.get("optional", ()))})
        if not all(isinstance(text, str) for text in (card.method, card.licence, card.card, *card.files.values())):
            raise ValueError("method, files, licence and card are text")
        if card.head not in HEADS:
            raise ValueError(f"head is {' or '.join(HEADS)}")
        return ModelFolder(path.resolve().name, path, card)
    except FileNotFoundError as error:
        raise WeightsError(f"no {MODEL_JSON} in {path}: give {', '.join(NAMES)} or a model folder") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"cannot read {path / MODEL_JSON}: {explain(error)}") from error


def write_model_json(folder: Path, card: ModelCard) -> None:
    """Make a folder of weights a model.

    Raises:
        WeightsError: it cannot be written.
    """
    write_bytes(folder / MODEL_JSON, (json.dumps(asdict(card), indent=1) + "\n").encode(), WeightsError)


def speech_mel_mean(audio: Path) -> Array:
    """(80,) mean mel level of speech, the reference for silence, from the header of trained audio weights.

    Raises:
        WeightsError: the header has none.
    """
    try:
        mean = np.array(json.loads(read_header(audio)["speech_mel_mean"]), np.float32)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{audio} has no mean mel level of speech: train it with this version") from error
    if mean.shape != (N_MELS,) or not (np.abs(mean) <= LARGEST_LEVEL).all():
        raise WeightsError(f"{audio} is damaged: its mean mel level of speech makes no sense")
    return mean
