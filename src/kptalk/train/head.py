"""Recipe of the head's motion (``kptalk.motion.head``), fitted in closed form; takes seconds.

Short clips mislead in three ways, each of which is made up for. Leakage of slow motion swamps 2 to 5 Hz: clips are
tapered, and the lag window is never negative (Parzen). A clip less its mean hides slow motion: generated clips are
compared with real ones through the same estimator, twice. The spread of a few seconds is not that of a person: the
noise of measuring is taken off the covariance of styles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save as serialise
from scipy.ndimage import gaussian_filter1d
from scipy.stats import spearmanr

from kptalk.audio import mean_norm
from kptalk.audio.windows import mel_windows
from kptalk.errors import DatasetError
from kptalk.files import write_bytes
from kptalk.motion import head
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.facemesh.style import SHORTEST, manner
from kptalk.motion.filters import savgol
from kptalk.motion.generator import FPS, speech_levels
from kptalk.motion.head import DRIVE_LAGS, N_POSE, N_STYLE, PACE_LAGS, PAST, SPEED, SPREAD, Doubles, HeadModel
from kptalk.train.data import Inputs
from kptalk.train.dataset import Dataset, TrackedClip
from kptalk.train.facemesh import align_clip, relative_pose

FEWEST_FRAMES = 150  # of a clip for the filter
LENGTHS = (75, 100, 150, 200, head.LENGTH, 500)  # frames of stretches that are compared; of a clip, the first at least
CALIBRATION = 60  # stretches of each length
FEWEST_PEOPLE = 8  # whose styles are known
STILL = 0.05  # degrees of yaw: less is a picture
DELAY = 5  # frames from a burst of noise to the speed that it makes
SHRUNK = 1.5  # what ridge took from the drive
RIDGE = 1000.0
LAGS, ROUNDS = 200, 2
ODD = np.array([0, 1, 0, 1, 1, 0, 0], bool)  # channels whose sign the mirror image changes
FORGOTTEN = 50  # frames of a generated head until it is in full motion
HALF_FLOATS = ("log_level", "slope", "coherence")  # stored so


@dataclass(frozen=True)
class HeadClip:
    """One clip: ``pose`` (T, 7) from its median, ``levels`` (T,) of the sound from their mean, ``manner`` (3, 3).

    The rows of ``manner`` are those of the whole clip and of its halves.
    """

    identity: str
    pose: Doubles
    levels: Doubles
    manner: Doubles

    @property
    def style(self) -> Doubles:
        """Log spread and log speed (14,)."""
        return head.style_of(self.pose)


def data(inputs: Inputs) -> list[HeadClip]:
    """The clips that are long enough.

    Raises:
        DatasetError: too few people, or their clips are too short.
    """
    space = FaceMeshSpace.load(inputs.folder / "facemesh.safetensors")
    dataset = Dataset.open(inputs.data)
    clips = [head_clip(space, dataset.load(entry)) for entry in dataset.clips if entry.frames >= LENGTHS[0]]
    clips = [clip for clip in clips if clip.pose[:, 1].std() > STILL and len(clip.pose) >= LENGTHS[0]]
    people = {clip.identity for clip in clips if len(clip.pose) >= SHORTEST}
    if len(people) < FEWEST_PEOPLE:
        raise DatasetError(
            f"clips of 8 s and more show {len(people)} people: the head needs {FEWEST_PEOPLE}, prepare longer clips"
        )
    return clips


def head_clip(space: FaceMeshSpace, clip: TrackedClip) -> HeadClip:
    """What a clip says of the head; the tracker's noise is taken out of its pose as the reader does."""
    aligned = align_clip(clip.landmarks, space.template)
    mel, count = clip.mel()
    pose = np.asarray(savgol.smooth_values(relative_pose(aligned), FPS, "interp")[:count], np.float64)
    levels = speech_levels(mel_windows(mel, np.arange(len(pose)), FPS))
    weight = mean_norm.speech_weight(levels[:, None]) + 1e-3
    expression = space.encode(aligned.meshes - aligned.neutral)
    half = len(expression) // 2
    manners = [manner(space, part) for part in (expression, expression[:half], expression[half:])]
    return HeadClip(clip.identity, pose, levels - weight @ levels / weight.sum(), np.stack(manners))


def build(clips: Sequence[HeadClip]) -> HeadModel:
    """Fit the process to clips of at least 150 frames, and the styles of people to all."""
    filtered = [clip for clip in clips if len(clip.pose) >= FEWEST_FRAMES]
    styles = np.array([clip.style for clip in filtered])
    weight = np.array([len(clip.pose) for clip in filtered], float)
    weight /= weight.sum()
    usual_ratio = (styles[:, SPEED] - styles[:, SPREAD]).mean(0)
    ratio = styles[:, SPEED] - styles[:, SPREAD] - usual_ratio
    spectra = np.array([_spectrum(clip.pose / np.exp(s[SPREAD])) for clip, s in zip(filtered, styles, strict=True)])
    power = np.maximum(np.einsum("nfcc->nfc", spectra).real, 1e-9)
    logs = np.log(power)
    slope = np.einsum("n,nfc,nc->fc", weight, logs - np.einsum("n,nfc->fc", weight, logs), ratio) / (weight @ ratio**2)
    slope = gaussian_filter1d(slope, 1, axis=0, mode="nearest")
    tilt = np.exp(np.einsum("fc,nc->nfc", slope, ratio))
    level = np.einsum("n,nfc->fc", weight, power / tilt)
    root = np.sqrt(level * tilt)
    coherence = np.einsum("n,nfij->fij", weight, spectra / root[:, :, :, None] / root[:, :, None, :])
    coherence[:, ODD[:, None] != ODD] = 0  # as if every clip had been seen in the mirror too
    own = np.sqrt(np.einsum("fcc->fc", coherence).real)
    coherence = coherence / own[:, :, None] / own[:, None, :]
    manners = np.array([clip.manner for clip in clips])
    model = HeadModel(
        style_mean=np.concatenate([np.median(styles, 0), np.zeros(3)]),
        style_cov=np.eye(N_STYLE),
        calm_tail=np.ones(1),
        bias=np.zeros(2 * N_POSE),
        unit=np.sqrt(np.einsum("n,nc->c", weight, np.exp(2 * styles[:, SPREAD]))),
        log_level=np.log(level),
        slope=slope,
        coherence=np.stack([coherence.real, coherence.imag]),
        **_sound(filtered, styles),
        usual_manner=np.median(manners[[len(clip.pose) >= SHORTEST for clip in clips], 0], 0),
    )
    for _ in range(ROUNDS):
        made = [_generated(model, s, k, clip) for k, (s, clip) in enumerate(zip(styles, filtered, strict=True))]
        seen = np.maximum(np.einsum("nfcc->nfc", [_spectrum(p / p.std(0)) for p in made]).real, 1e-9)
        r = np.array([s[SPEED] - s[SPREAD] for s in map(head.style_of, made)]) - usual_ratio
        seen = np.einsum("n,nfc->fc", weight, seen / np.exp(np.einsum("fc,nc->nfc", slope, r)))
        change = gaussian_filter1d((level / seen)[head.FREQUENCY < head.TOP], 2, axis=0, mode="nearest")
        change = np.concatenate([change, np.repeat(change[-1:], len(level) - len(change), 0)])
        model = replace(model, log_level=model.log_level + np.log(change))
    return _with_people(model, clips)


def save(path: Path, model: HeadModel, clips: Sequence[HeadClip]) -> None:
    """Write the model."""
    kind = {name: np.float16 if name in HALF_FLOATS else np.float32 for name in head.SHAPES}
    tensors = {each.name: np.ascontiguousarray(getattr(model, each.name), kind[each.name]) for each in fields(model)}
    write_bytes(path, serialise(tensors, {"kptalk": "head", "people": str(len({clip.identity for clip in clips}))}))


def _with_people(model: HeadModel, clips: Sequence[HeadClip]) -> HeadModel:
    """The model with the distribution of styles, every person counting once.

    Its middle is that of people in clips of 8 s and more: most who sit still are readers, in short clips. They count
    where it is asked how far people differ. How much smaller the spread of a short stretch is, and how much it varies,
    is learned from one generated head. Robust, by quantiles and ranks: some clips are of people who turn away.
    """
    at, own = np.arange(2 * N_POSE, N_STYLE), slice(0, 2 * N_POSE)
    begun = head.start(model, model.style_mean, 0)
    made = []
    for seed in range(CALIBRATION):
        levels = np.resize(clips[seed % len(clips)].levels, LENGTHS[-1] + FORGOTTEN)
        made.append(head.step(model, levels, len(levels), replace(begun, seed=seed))[0][FORGOTTEN:])
    stretches = np.array([[head.style_of(pose[:length]) for pose in made] for length in LENGTHS])
    usual = stretches[LENGTHS.index(head.LENGTH)].mean(0)
    shrunk = stretches.mean(1) - usual

    def styles(clips: Sequence[HeadClip]) -> Doubles:
        """Of people (n, 17)."""
        measured: dict[str, list[Doubles]] = {}
        for clip in clips:
            lost = [np.interp(len(clip.pose), LENGTHS, values) for values in shrunk.T]
            measured.setdefault(clip.identity, []).append(np.concatenate([clip.style - lost, clip.manner[0]]))
        return np.array([np.mean(own_clips, 0) for own_clips in measured.values()])

    seen, long = styles(clips), [clip for clip in clips if len(clip.pose) >= SHORTEST]
    (low, high), middle = np.quantile(seen, [0.1, 0.9], 0), np.median(styles(long), 0)
    spread = (high - low) / 2.56
    manners = np.array([clip.manner for clip in long])  # a few seconds tell none
    low, high = np.quantile(manners[:, 0], [0.1, 0.9], 0)
    apart, together = np.quantile(manners[:, 1] - manners[:, 2], [0.9, 0.1], 0)
    spread[at] = np.sqrt(np.maximum(((high - low) / 2.56) ** 2 - ((apart - together) / 2.56 / 2) ** 2, 0.01))
    cov = 2 * np.sin(np.pi / 6 * spearmanr(seen)[0]) * spread[:, None] * spread
    noise = [np.cov(stretches[np.abs(np.array(LENGTHS) - len(clip.pose)).argmin()].T) for clip in clips]
    cov[own, own] -= np.mean(noise, 0) * len(seen) / len(clips)
    values, vectors = np.linalg.eigh(cov)
    cov = vectors * np.maximum(values, 1e-3) @ vectors.T
    mean = np.concatenate([middle[own], np.zeros(3)])
    model = replace(model, style_mean=mean, style_cov=cov, bias=usual - model.style_mean[own])
    way = model.components[0, own]
    calm, lively = np.abs(np.quantile((seen - middle)[:, own] @ way, [0.1, 0.9]))
    return replace(model, calm_tail=np.array([np.clip(calm / lively, 0.5, 2)]))


def _sound(clips: Sequence[HeadClip], styles: Doubles) -> dict[str, Doubles]:
    """What the sound does to the speed and to the pose; nods, as a mirror image must be as likely."""
    heard = [head.sound_features(np.pad(c.levels, (PAST, 0), "edge"), len(c.pose)) for c in clips]
    mean = np.concatenate([each[:, PAST] for each in heard]).mean(0)
    inner, late = slice(30, -30), slice(30 - DELAY, -30 - DELAY)
    speeds = [_log_speed(clip.pose, s) for clip, s in zip(clips, styles, strict=True)]
    rows = np.concatenate([(each - mean)[late, PAST - PACE_LAGS].reshape(-1, 3 * len(PACE_LAGS)) for each in heard])
    pace = _ridge(rows, np.concatenate([speed[inner] - speed.mean() for speed in speeds]))
    usual = np.log(np.exp(head.SOUND_GAIN * rows @ pace).mean()) / head.SOUND_GAIN
    rows = np.concatenate([(each - mean)[inner, PAST - DRIVE_LAGS].reshape(-1, 3 * len(DRIVE_LAGS)) for each in heard])
    places = [(c.pose - c.pose.mean(0)) / np.exp(s[SPREAD]) for c, s in zip(clips, styles, strict=True)]
    drive = SHRUNK * _ridge(rows, np.concatenate([place[inner] for place in places]))
    drive[:, ODD | (np.arange(N_POSE) == 0)] = 0
    return {"sound_mean": mean, "pace": pace, "usual_pace": np.array([usual]), "drive": drive}


def _generated(model: HeadModel, style: Doubles, seed: int, clip: HeadClip, length: int | None = None) -> Doubles:
    """A head (T, 7) that hears the clip, in full motion from its first frame."""
    count = (length or len(clip.pose)) + FORGOTTEN
    return head.step(model, clip.levels, count, head.start(model, style, seed))[0][FORGOTTEN:]


def _spectrum(pose: Doubles) -> Doubles:
    """Cross spectra (257, 7, 7) of a pose (T, 7), after Blackman and Tukey."""
    taper = np.hanning(len(pose))[:, None]
    pose = (pose - pose.mean(0)) * taper / np.sqrt((taper**2).mean())
    spectrum = np.fft.rfft(pose, 2 ** int(np.ceil(np.log2(2 * len(pose)))), axis=0)
    cov = np.fft.irfft(spectrum[:, :, None] * spectrum[:, None].conj(), axis=0) / len(pose)
    count = min(LAGS, len(pose) - 1)
    u = np.arange(count) / count
    parzen = np.where(u < 0.5, 1 - 6 * u**2 + 6 * u**3, 2 * (1 - u) ** 3)[:, None, None]
    both = np.zeros((head.FFT, N_POSE, N_POSE))
    both[:count] = cov[:count] * parzen
    both[1 - count :] = cov[1 - count :] * parzen[:0:-1]
    return np.asarray(np.fft.fft(both, axis=0)[: head.FFT // 2 + 1])


def _log_speed(pose: Doubles, style: Doubles) -> Doubles:
    turned = np.diff(pose, axis=0, prepend=pose[:1])[:, 1:4] * head.FPS / np.exp(style[N_POSE + 1 : N_POSE + 4])
    return np.asarray(np.log(gaussian_filter1d((turned**2).mean(1), 3) + 0.03))


def _ridge(x: Doubles, y: Doubles) -> Doubles:
    return np.asarray(np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y))
