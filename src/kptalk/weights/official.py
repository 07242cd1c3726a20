"""The official weights: which network each file fills, and how they are pulled, converted and verified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from kptalk.errors import WeightsError
from kptalk.files import sha256
from kptalk.networks.appearance import AppearanceExtractor, AppearanceExtractorConfig
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.hopenet import Hopenet, HopenetConfig
from kptalk.networks.inception import Inception, InceptionConfig
from kptalk.networks.motion_extractor import MotionExtractor, MotionExtractorConfig
from kptalk.networks.spade import SpadeDecoder, SpadeDecoderConfig, fold_spectral_norm
from kptalk.networks.stitching import EYE, StitchingNetwork, StitchingNetworkConfig
from kptalk.networks.syncnet import SyncNet, SyncNetConfig
from kptalk.networks.warping import WarpingNetwork, WarpingNetworkConfig
from kptalk.weights.convert import Network, Numbers, install
from kptalk.weights.fetch import check_original, fetch
from kptalk.weights.lock import Record, accept, read_lock
from kptalk.weights.registry import ENTRIES, Entry, converted_path, entries_in, entry_of
from kptalk.weights.store import check_finite, load_model

ANIMALS = "liveportrait_animals"
# Mean and standard deviation of each field of KDTalker's motion, (width,) each; the lip and eye openings are not used.
_WIDTHS = {"yaw": 1, "pitch": 1, "roll": 1, "t": 3, "exp": 63, "scale": 1, "kp": 63}
NORM = Numbers(
    {f"{field}_{kind}": (width,) for field, width in _WIDTHS.items() for kind in ("mean", "std")},
    positive=r".*_std",
    unused=r"c_(lip|eye)_(mean|std)",
)
# What the converted files hold; entries that are missing here are copied as they are.
TARGETS: dict[str, Network | Numbers] = {
    "appearance_extractor": Network(AppearanceExtractor, AppearanceExtractorConfig()),
    "motion_extractor": Network(MotionExtractor, MotionExtractorConfig()),
    "warping": Network(WarpingNetwork, WarpingNetworkConfig()),
    "decoder": Network(SpadeDecoder, SpadeDecoderConfig(), fold_spectral_norm),
    "stitching": Network(StitchingNetwork, StitchingNetworkConfig()),
    "retargeting_eye": Network(StitchingNetwork, EYE),
    "kdtalker": Network(Denoiser, DenoiserConfig()),
    "kdtalker_norm": NORM,
    "audio": Network(AudioEncoder, AudioEncoderConfig()),
    "syncnet": Network(SyncNet, SyncNetConfig()),
    "hopenet": Network(Hopenet, HopenetConfig()),
    "inception": Network(Inception, InceptionConfig()),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one entry: ``detail`` is the converted file, or what went wrong in one line."""

    name: str
    ok: bool
    detail: str


def chosen(names: Sequence[str]) -> list[Entry]:
    """The entries that these names mean; a name may be that of a set, ``official`` or ``evaluate``.

    Raises:
        WeightsError: one is neither an entry nor a set.
    """
    every = ENTRIES.values()
    wanted = [entry for name in names for entry in ([e for e in every if e.set == name] or [entry_of(name)])]
    return list(dict.fromkeys(wanted))


def unaccepted(entries: Iterable[Entry]) -> list[str]:
    """The licences of these entries that the user has not accepted yet, now or at an earlier pull.

    Raises:
        WeightsError: the lock file is damaged.
    """
    known = read_lock().licences
    return list(dict.fromkeys(entry.licence for entry in entries if entry.licence not in known))


def pull(names: Sequence[str], accept_licence: bool = False) -> Iterator[Outcome]:
    """Download, check and convert; one outcome for each entry, whatever happens to the others.

    Args:
        names: entries or sets; what is here already is left alone.
        accept_licence: the user accepts the licences; needed once, then recorded.

    Raises:
        WeightsError: a name is unknown, or a licence has not been accepted; the message holds it.
    """
    present: list[Entry] = []
    wanted: list[Entry] = []
    for entry in chosen(names):
        (wanted if _changed(entry) else present).append(entry)
    for entry in present:
        yield Outcome(entry.name, True, f"{converted_path(entry)} (already here)")
    if licences := unaccepted(wanted):
        if not accept_licence:
            raise WeightsError(f"licences not accepted yet: {'; '.join(licences)}")
        accept(licences)
    for entry in wanted:
        try:
            path = install(entry, fetch(entry), TARGETS.get(entry.name), str(entry.source))
            yield Outcome(entry.name, True, str(path))
        except WeightsError as error:
            yield Outcome(entry.name, False, str(error))


def convert(path: Path) -> Iterator[Outcome]:
    """Convert one's own copies; one outcome for each entry found.

    Args:
        path: an original file, or a folder that holds some at any depth; they are known by their file names. A folder
            ``liveportrait_animals`` is skipped: it has other weights under the same names.

    Raises:
        WeightsError: nothing exists under that name, or there is no official file in it.
    """
    if not path.exists():
        raise WeightsError(f"{path} does not exist: give an official file or a folder of them")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    found: dict[str, list[Path]] = {}
    for file in files:
        for entry in entries_in(file.name) if ANIMALS not in file.absolute().parts else []:
            found.setdefault(entry.name, []).append(file)
    if not found:
        known = ", ".join(dict.fromkeys(entry.original for entry in ENTRIES.values()))
        raise WeightsError(f"{path} holds no official file; they are known by their names: {known}")
    for name, copies in found.items():
        try:
            if len(copies) > 1:
                raise WeightsError(f"several files may be {name}, give one of them: {', '.join(map(str, copies))}")
            source = f"local file {copies[0].name}"
            yield Outcome(name, True, str(install(entry_of(name), copies[0], TARGETS.get(name), source)))
        except WeightsError as error:
            yield Outcome(name, False, str(error))


def verify(names: Sequence[str] = ()) -> Iterator[Outcome]:
    """Compare the digests of originals and converted files with the lock file, and load each file strictly.

    Args:
        names: entries or sets; none: all whose converted file is here.

    Raises:
        WeightsError: a name is unknown, or the lock file is damaged.
    """
    for entry in chosen(names or [name for name, entry in ENTRIES.items() if converted_path(entry).is_file()]):
        try:
            if reason := _changed(entry):
                raise WeightsError(reason)
            original = _check_original(entry, read_lock().files[entry.name])
            _load(entry)
            yield Outcome(entry.name, True, f"{converted_path(entry)}, {original}")
        except WeightsError as error:
            yield Outcome(entry.name, False, str(error))


def _changed(entry: Entry) -> str | None:
    """Why the converted file is not what the lock file says; None if it is."""
    path = converted_path(entry)
    if not path.is_file():
        return f"missing {path}: run `kptalk weights pull {entry.name}`"
    record = read_lock().files.get(entry.name)
    if record is None:
        return f"{path} is not in the lock file: convert or pull it again"
    if sha256(path) != record.converted_sha256:
        return f"{path} changed since it was converted: delete it, then convert or pull it again"
    return None


def _check_original(entry: Entry, record: Record) -> str:
    path = Path(record.original)
    if not path.is_file():
        return "the original is gone"
    if check_original(entry, path) != record.sha256:
        raise WeightsError(f"{path} is not the file that {entry.name} was converted from")
    return f"sha256 of the original {record.sha256[:16]}.."


def _load(entry: Entry) -> None:
    """Load the converted file as those who use it do.

    Raises:
        WeightsError: it does not fit, or holds numbers that cannot be used.
    """
    path, target = converted_path(entry), TARGETS.get(entry.name)
    if isinstance(target, Network):
        model = load_model(path, target.model_class, type(target.config))
        if model.config != target.config:
            raise WeightsError(f"{path} was converted for other architecture numbers: convert or pull it again")
        check_finite(path, model.state_dict())
    elif isinstance(target, Numbers):
        target.check(path, load_file(path))
