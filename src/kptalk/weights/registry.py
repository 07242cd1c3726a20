"""The official files that others publish: where each one is, under which terms, and where its converted form lies.

Everything that may have to be corrected is in ``TABLE``. Nothing here touches the network: see ``fetch``, ``convert``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kptalk.errors import WeightsError

Form = Literal["safetensors", "pth", "onnx"]


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
    """One network, or one file of numbers, that an official file holds.

    Attributes:
        name: what the rest of kptalk calls it.
        set: for what it is pulled: ``official`` (animate, reenact) or ``evaluate``.
        source: where the original is.
        page: where its authors publish it, for those who fetch it by hand.
        licence: under which terms its authors publish it.
        commercial: whether those terms allow commercial use.
        size: bytes of the original; None where unknown.
        sha256: of the original, in hexadecimal; the first eight digits may do; None where unknown: then the first pull
            records it in the lock file.
        key: the dictionary inside the original that holds the tensors; None: the outermost.
        prefix: what the tensors' names may begin with there; it is removed.
        part: what the wanted tensors' names begin with after that; others belong to other networks.
        aliases: other names under which copies of the original go.
        form: what the converted file is.
    """

    name: str
    set: Literal["official", "evaluate"]
    source: Hub | Url
    page: str
    licence: str
    commercial: bool
    size: int | None = None
    sha256: str | None = None
    key: str | None = None
    prefix: str = ""
    part: str = ""
    aliases: tuple[str, ...] = ()
    form: Form = "safetensors"

    @property
    def original(self) -> str:
        """The original's file name, by which a local copy of it is recognised."""
        return self.source.path.rpartition("/")[2]

    @property
    def converted(self) -> str:
        """The converted file's name."""
        return f"{self.name}.{self.form}"


def _live_portrait(name: str, path: str, key: str | None = None, prefix: str = "") -> Entry:
    source = Hub("KwaiVGI/LivePortrait", f"liveportrait/{path}")
    page = "https://huggingface.co/KwaiVGI/LivePortrait"
    return Entry(name, "official", source, page, "MIT (LivePortrait)", True, key=key, prefix=prefix)


# No file could be fetched where this was written: repositories and paths are those that the projects' own pages and
# other projects' download scripts name. "Not verified" marks what only one such script names. Where no digest stands,
# none was found; the first pull records it.
_STITCHING = "retargeting_models/stitching_retargeting_module.pth"
_KDTALKER = "https://github.com/chaolongy/KDTalker"
_CC_BY_NC = "CC BY-NC 4.0 (KDTalker)"
TABLE = (
    _live_portrait("appearance_extractor", "base_models/appearance_feature_extractor.pth"),
    _live_portrait("motion_extractor", "base_models/motion_extractor.pth"),
    _live_portrait("warping", "base_models/warping_module.pth"),
    _live_portrait("decoder", "base_models/spade_generator.pth"),
    _live_portrait("stitching", _STITCHING, key="retarget_shoulder", prefix="module."),
    _live_portrait("retargeting_lip", _STITCHING, key="retarget_mouth", prefix="module."),
    _live_portrait("retargeting_eye", _STITCHING, key="retarget_eye", prefix="module."),
    Entry(
        "kdtalker",
        "official",
        Hub("ChaolongYang/KDTalker", "ckpts/KDTalker.pth"),
        _KDTALKER,
        _CC_BY_NC,
        False,
        key="model",
        prefix="point_model.model.",
    ),
    Entry(
        "kdtalker_norm",
        "official",
        # Not verified; the authors keep this file beside their code, not beside their weights.
        Url("https://raw.githubusercontent.com/chaolongy/KDTalker/main/dataset_process/norm.npz"),
        _KDTALKER,
        _CC_BY_NC,
        False,
    ),
    Entry(
        "audio",
        "official",
        Hub("ChaolongYang/KDTalker", "ckpts/wav2lip.pth"),
        _KDTALKER,
        "research and personal use only (Wav2Lip, trained on LRS2)",
        False,
        key="state_dict",
        prefix="module.",
        part="audio_encoder.",
    ),
    Entry(
        "syncnet",
        "evaluate",
        Hub("ByteDance/LatentSync-1.5", "auxiliary/syncnet_v2.model"),  # a copy
        "https://www.robots.ox.ac.uk/~vgg/software/lipsync",
        "MIT (syncnet_python); trained on BBC broadcasts",
        False,
    ),
    Entry(
        "hopenet",
        "evaluate",
        # Not verified; the authors publish it on Google Drive only, this is another project's copy.
        Hub("Sanoojan/REFace", "Other_dependencies/Hopenet_pose/hopenet_robust_alpha1.pkl"),
        "https://github.com/natanielruiz/deep-head-pose",
        "none stated for the weights (deep-head-pose's code: Apache-2.0); trained on 300W-LP, research only",
        False,
    ),
    Entry(
        "inception",
        "evaluate",
        Url(
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
        ),
        "https://github.com/toshas/torch-fidelity",
        "Apache-2.0 (TensorFlow models)",
        True,
        sha256="6726825d",
        aliases=("pt_inception-2015-12-05-6726825d.pth",),
        form="pth",
    ),
    Entry(
        "arcface",
        "evaluate",
        Hub("public-data/insightface", "models/buffalo_l/w600k_r50.onnx", "33c1063c49c785b7652d3fd529f86fa4f149392b"),
        "https://github.com/deepinsight/insightface",
        "non-commercial research only (InsightFace buffalo_l)",
        False,
        size=174_383_860,
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        form="onnx",
    ),
)
ENTRIES = {entry.name: entry for entry in TABLE}


def entry_of(name: str) -> Entry:
    """The entry called ``name``.

    Raises:
        WeightsError: there is none; the message lists those there are.
    """
    if name not in ENTRIES:
        raise WeightsError(f"no official weights {name!r}; there are: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def own_copy(entry: Entry) -> str:
    """The end of a message: what to do where the file cannot be pulled."""
    return f"or `kptalk weights convert FILE` with your own copy of {entry.original} (see {entry.page})"


def entries_in(file_name: str) -> list[Entry]:
    """The entries whose original goes under that file name; stitching and retargeting share one."""
    return [entry for entry in TABLE if file_name in (entry.original, *entry.aliases)]


def weights_folder() -> Path:
    """Where converted official weights and their lock file lie.

    ``$KPTALK_HOME/weights/official``; without that variable ``kptalk/weights/official`` in the user's cache folder
    (``$XDG_CACHE_HOME`` or ``~/.cache``).
    """
    home = os.environ.get("KPTALK_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home or Path(cache) / "kptalk") / "weights" / "official"


def converted_path(entry: Entry) -> Path:
    """Where the converted file of an entry is, or will be."""
    return weights_folder() / entry.converted


def official_paths(names: Sequence[str]) -> dict[str, Path]:
    """The converted files of several entries, by name.

    Raises:
        WeightsError: some are not here yet; the message names all of them, and the command that gets them.
    """
    paths = {name: converted_path(entry_of(name)) for name in names}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise WeightsError(
            f"official weights that are not here: {', '.join(missing)}: run `kptalk weights pull --accept-licence`, "
            "or `kptalk weights convert FOLDER` with your own copies"
        )
    return paths


def official_path(name: str) -> Path:
    """The converted file of an official entry, for example ``syncnet``.

    ``.safetensors`` as ``store.load_model`` reads it, with two exceptions that stay as published: ``inception``
    (``.pth``, seen to hold nothing but tensors) and ``arcface`` (``.onnx``).

    Raises:
        WeightsError: no such entry, or it is not here yet; the message holds the command that gets it.
    """
    entry = entry_of(name)
    path = converted_path(entry)
    if not path.is_file():
        raise WeightsError(
            f"the official weights {name!r} are not here: run `kptalk weights pull {name}`, {own_copy(entry)}"
        )
    return path
