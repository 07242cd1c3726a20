"""The official weights: which network each file fills, and how they are pulled, converted and verified."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from kptalk.weights.lock import accept, read_lock
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
    entries = chosen(names)
    wanted = [entry for entry in entries if _changed(entry)]
    for entry in entries:
        if entry not in wanted:
            yield Outcome(entry.name, True, f"{converted_path(entry)} (already here)")
    if licences := unaccepted(wanted):
        if not accept_licence:
            raise WeightsError(f"licences not accepted yet: {'; '.join(licences)}")
        accept(licences)
    yield from _outcomes(wanted, lambda e: install(e, fetch(e), TARGETS.get(e.name), str(e.source)))


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
    found: dict[Entry, list[Path]] = {}
    for file in files:
        for entry in entries_in(file.name) if ANIMALS not in file.absolute().parts else []:
            found.setdefault(entry, []).append(file)
    if not found:
        known = ", ".join(dict.fromkeys(entry.original for entry in ENTRIES.values()))
        raise WeightsError(f"{path} holds no official file; they are known by their names: {known}")

    def convert_only_copy(entry: Entry) -> Path:
        copy, *more = found[entry]
        if more:
            copies = ", ".join(map(str, found[entry]))
            raise WeightsError(f"several files may be {entry.name}, give one of them: {copies}")
        return install(entry, copy, TARGETS.get(entry.name), f"local file {copy.name}")

    yield from _outcomes(found, convert_only_copy)


def verify(names: Sequence[str] = ()) -> Iterator[Outcome]:
    """Compare the digests of originals and converted files with the lock file, and load each file strictly.

    Args:
        names: entries or sets; none: all whose converted file is here.

    Raises:
        WeightsError: a name is unknown, or the lock file is damaged.
    """
    yield from _outcomes(chosen(names or [name for name, e in ENTRIES.items() if converted_path(e).is_file()]), _verify)


def _outcomes(entries: Iterable[Entry], work: Callable[[Entry], object]) -> Iterator[Outcome]:
    """What comes of the work on each entry; one that fails does not stop the others."""
    for entry in entries:
        try:
            yield Outcome(entry.name, True, str(work(entry)))
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


def _verify(entry: Entry) -> str:
    """Check the digests of an entry and load its converted file as those who use it do; says what was checked."""
    if reason := _changed(entry):
        raise WeightsError(reason)
    record, path, target = read_lock().files[entry.name], converted_path(entry), TARGETS.get(entry.name)
    original, checked = Path(record.original), "the original is gone"
    if original.is_file():
        if check_original(entry, original) != record.sha256:
            raise WeightsError(f"{original} is not the file that {entry.name} was converted from")
        checked = f"sha256 of the original {record.sha256[:16]}.."
    if isinstance(target, Network):
        model = load_model(path, target.model_class, type(target.config))
        if model.config != target.config:
            raise WeightsError(f"{path} was converted for other architecture numbers: convert or pull it again")
        check_finite(path, model.state_dict())
    elif isinstance(target, Numbers):
        target.check(path, load_file(path))
    return f"{path}, {checked}"
