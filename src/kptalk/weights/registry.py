"""The official files: where each one is published, under which terms, its digest, and where its converted form is.

Everything that may have to be corrected is in ``registry.json``. Hopenet's authors publish it on Google Drive only: its
source there is a copy that another project's script names. Nothing here uses the network: see ``fetch``, ``convert``.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kptalk.errors import WeightsError
from kptalk.files import explain


@dataclass(frozen=True)
class Hub:
    """A file in a Hugging Face repository."""

    repository: str
    path: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"huggingface.co/{self.repository}/{self.path} ({self.revision[:12]})"


@dataclass(frozen=True)
class Url:
    """A file at a plain https address."""

    address: str

    @property
    def path(self) -> str:
        return self.address.rpartition("/")[2]

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class Entry:
    """One network, or one file of numbers, that an official file holds."""

    name: str  # what the rest of kptalk calls it
    set: Literal["official", "evaluate"]  # for what it is pulled: animate and reenact, or evaluate
    source: Hub | Url  # where the original is
    page: str  # where its authors publish it, for those who fetch it by hand
    licence: str  # under which terms they publish it
    commercial: bool  # whether those terms allow commercial use
    key: str | None = None  # the dictionary inside the original that holds the tensors; None: the outermost
    prefix: str = ""  # what the tensors' names may begin with there; it is removed
    part: str = ""  # what its tensors' names begin with after that; others belong to other networks
    aliases: tuple[str, ...] = ()  # other file names of copies of the original
    form: Literal["safetensors", "onnx"] = "safetensors"  # what the converted file is

    @property
    def original(self) -> str:
        """The original's file name, by which a local copy of it is recognised."""
        return self.source.path.rpartition("/")[2]

    @property
    def converted(self) -> str:
        """The converted file's name."""
        return f"{self.name}.{self.form}"


def _read_table() -> tuple[dict[str, Entry], dict[str, tuple[int | None, str]]]:
    table = json.loads(Path(__file__).with_name("registry.json").read_text(encoding="utf-8"))
    entries = {}
    for name, row in table["entries"].items():
        source = Hub(**row.pop("hub")) if "hub" in row else Url(row.pop("url"))
        entries[name] = Entry(name, source=source, aliases=tuple(row.pop("aliases", ())), **row)
    return entries, {original: (size, digest) for original, (size, digest) in table["pins"].items()}


# PINS: size in bytes and SHA-256 of the originals, by file name; the first digits of a digest may do. Several
# independent public lists agree on them. What is not there (KDTalker.pth, wav2lip.pth, hopenet) is recorded at the
# first pull.
ENTRIES, PINS = _read_table()


def entry_of(name: str) -> Entry:
    """The entry called ``name``.

    Raises:
        WeightsError: there is none; the message lists those there are.
    """
    if name not in ENTRIES:
        raise WeightsError(f"no official weights {name!r}; there are: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def own_copy(entry: Entry) -> str:
    """The end of a message: what to do if the file cannot be pulled."""
    return f"or `kptalk weights convert FILE` with your own copy of {entry.original} (see {entry.page})"


def entries_in(file_name: str) -> list[Entry]:
    """The entries whose original goes under that file name; stitching and retargeting share one."""
    return [entry for entry in ENTRIES.values() if file_name in (entry.original, *entry.aliases)]


def weights_folder() -> Path:
    """The folder of the converted official weights and their lock file.

    ``$KPTALK_HOME/weights/official``; without that variable ``kptalk/weights/official`` in the user's cache folder
    (``$XDG_CACHE_HOME`` or ``~/.cache``).
    """
    home = os.environ.get("KPTALK_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home or Path(cache) / "kptalk") / "weights" / "official"


def make_weights_folder() -> Path:
    """That folder, created if it does not exist.

    Raises:
        WeightsError: it cannot be created.
    """
    folder = weights_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"cannot write to {folder}: {explain(error)}") from error
    return folder


def converted_path(entry: Entry) -> Path:
    """Where the converted file of an entry is, or will be."""
    return weights_folder() / entry.converted


def official_path(name: str) -> Path:
    """The converted file of an official entry, for example ``syncnet``.

    ``.safetensors`` as ``store.load_model`` reads it, except ``arcface``, which stays the published ``.onnx``.

    Raises:
        WeightsError: no such entry, or its file is missing; the message holds the command that gets it.
    """
    entry = entry_of(name)
    path = converted_path(entry)
    if not path.is_file():
        raise WeightsError(f"missing official weights: {name}; run `kptalk weights pull {name}`, {own_copy(entry)}")
    return path
