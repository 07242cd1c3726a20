"""The official files: where each one is published, under which terms, its digest, and where its converted form is.

Everything that may have to be corrected is in two tables. Nothing here uses the network: see ``fetch``, ``convert``.
"""

from __future__ import annotations

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
    """One network, or one file of numbers, that an official file holds.

    Attributes:
        name: what the rest of kptalk calls it.
        set: for what it is pulled: ``official`` (animate, reenact) or ``evaluate``.
        source: where the original is.
        page: where its authors publish it, for those who fetch it by hand.
        licence: under which terms its authors publish it.
        commercial: whether those terms allow commercial use.
        key: the dictionary inside the original that holds the tensors; None: the outermost.
        prefix: what the tensors' names may begin with there; it is removed.
        part: what the names of the network's tensors begin with after that; others belong to other networks.
        aliases: other file names of copies of the original.
        form: what the converted file is.
    """

    name: str
    set: Literal["official", "evaluate"]
    source: Hub | Url
    page: str
    licence: str
    commercial: bool
    key: str | None = None
    prefix: str = ""
    part: str = ""
    aliases: tuple[str, ...] = ()
    form: Literal["safetensors", "onnx"] = "safetensors"

    @property
    def original(self) -> str:
        """The original's file name, by which a local copy of it is recognised."""
        return self.source.path.rpartition("/")[2]

    @property
    def converted(self) -> str:
        """The converted file's name."""
        return f"{self.name}.{self.form}"


# Size in bytes and SHA-256 of the originals, by file name; the first digits of a digest may do. Several independent
# public lists agree on them. What is not here (KDTalker.pth, wav2lip.pth, hopenet) is recorded at the first pull.
PINS: dict[str, tuple[int | None, str]] = {
    "appearance_feature_extractor.pth": (3_387_959, "5279bb8654293dbdf327030b397f107237dd9212fb11dd75b83dfb635211ceb5"),
    "motion_extractor.pth": (112_545_506, "251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5"),
    "warping_module.pth": (182_180_086, "2f61a6f265fe344f14132364859a78bdbbc2068577170693da57fb96d636e282"),
    "spade_generator.pth": (221_813_590, "4780afc7909a9f84e24c01d73b31a555ef651521a1fe3b2429bd04534d992aee"),
    "stitching_retargeting_module.pth": (2_393_098, "3652d5a3f95099141a56986aaddec92fadf0a73c87a20fac9a2c07c32b28b611"),
    "norm.npz": (5_580, "9422e503e75df9d1bd455d8e0f9f5e2826b12956cdedbb5566097c0151bddafb"),
    "syncnet_v2.model": (54_573_114, "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442"),
    "weights-inception-2015-12-05-6726825d.pth": (None, "6726825d"),
    "w600k_r50.onnx": (174_383_860, "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"),
}


def _live_portrait(name: str, path: str, key: str | None = None) -> Entry:
    source = Hub("KlingTeam/LivePortrait", f"liveportrait/{path}", "82a4fa6735ca58432b6ce39301b4b9ee066dea47")
    page, prefix = "https://huggingface.co/KlingTeam/LivePortrait", "module." if key else ""
    return Entry(name, "official", source, page, "MIT (LivePortrait)", True, key, prefix)


_STITCHING = "retargeting_models/stitching_retargeting_module.pth"
_KDTALKER = "https://github.com/chaolongy/KDTalker"
_CC_BY_NC = "CC BY-NC 4.0 (KDTalker)"
_TABLE = (
    _live_portrait("appearance_extractor", "base_models/appearance_feature_extractor.pth"),
    _live_portrait("motion_extractor", "base_models/motion_extractor.pth"),
    _live_portrait("warping", "base_models/warping_module.pth"),
    _live_portrait("decoder", "base_models/spade_generator.pth"),
    _live_portrait("stitching", _STITCHING, "retarget_shoulder"),
    _live_portrait("retargeting_eye", _STITCHING, "retarget_eye"),
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
        Url("https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model"),
        "https://www.robots.ox.ac.uk/~vgg/software/lipsync",
        "none stated for the weights (syncnet_python's code: MIT); trained on BBC broadcasts",
        False,
    ),
    Entry(
        "hopenet",
        "evaluate",
        # A copy that another project's script names; the authors publish it on Google Drive only.
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
        aliases=("pt_inception-2015-12-05-6726825d.pth",),
    ),
    Entry(
        "arcface",
        "evaluate",
        Hub("public-data/insightface", "models/buffalo_l/w600k_r50.onnx", "33c1063c49c785b7652d3fd529f86fa4f149392b"),
        "https://github.com/deepinsight/insightface",
        "non-commercial research only (InsightFace buffalo_l)",
        False,
        form="onnx",
    ),
)
ENTRIES = {entry.name: entry for entry in _TABLE}


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
