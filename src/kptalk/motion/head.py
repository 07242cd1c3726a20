"""The head's pose as a learned stochastic process: noise with bursts through a filter that one person's style fixes.

    pose(t) = spread * (sum over k of filter(k) sigma(t - k) w(t - k) + drive(sound)),   w white noise of 7 channels

sigma makes the noise loud and quiet: bursts, rests, and what the sound says. As sigma w stays white whatever sigma is,
spread, speed and spectrum are those of the style. There are no windows, so nothing has to be joined. A head begins in
the photo's pose and never drifts from it. Channels: scale, yaw, pitch, roll, translation; degrees and face units.

A style is 17 numbers, all logarithms: spread and speed per second of each channel, how wide the mouth opens, how much
the rest of the face moves, blinks per minute.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from kptalk.errors import WeightsError
from kptalk.files import explain
from kptalk.types import MODEL_FPS, Floats

Doubles = NDArray[np.float64]

FPS = int(MODEL_FPS)
N_POSE = 7
SPREAD, SPEED = slice(0, N_POSE), slice(N_POSE, 2 * N_POSE)  # of a style, and after them:
MOUTH, FACE, BLINKS = 2 * N_POSE, 2 * N_POSE + 1, 2 * N_POSE + 2
N_STYLE = 2 * N_POSE + 3
LIVELY = 1.0  # standard deviations of people from calm and lively to the mean
WIDEST = 1.5  # standard deviations of people that a drawn style reaches

FFT, TAPS = 512, 160  # frames of the spectra, and of the filter
FREQUENCY = np.arange(FFT // 2 + 1) * FPS / FFT
TOP = 3.9  # Hz; above it there is mostly the tracker's noise: the spectrum goes on as f^-8
LENGTH = 300  # frames within which a style's spread is measured
ALL_PASS = 0.85  # pole; without it heads start much faster than they come to rest
LIMIT = 4.5  # standard deviations of all heads that a pose reaches, softly: 35 degrees of yaw, 18 of pitch, 17 of roll
START = 12  # frames after which what the sound does to the pose has set in

BURST_SHARED, BURST_OWN = 0.7, 0.5  # spread of log sigma: what all channels share, and each one's own
BURST_FRAMES = 2.0  # time constant of its two low-passes
SOUND_GAIN = 3.0  # makes up for what the regression on the sound shrank
LOUDEST = 3.0  # the most that the sound does to log sigma
PAST, AHEAD = 40, 11  # frames of sound before and after its own that a frame depends on
PACE_LAGS = np.arange(-11, 20, 3)  # frames by which the sound is older than the noise that it makes loud
DRIVE_LAGS = np.arange(-6, 25, 3)
SHAPES = {  # of the tensors in the file
    "style_mean": (N_STYLE,),
    "style_cov": (N_STYLE, N_STYLE),
    "calm_tail": (1,),
    "bias": (2 * N_POSE,),
    "unit": (N_POSE,),
    "log_level": (FFT // 2 + 1, N_POSE),
    "slope": (FFT // 2 + 1, N_POSE),
    "coherence": (2, FFT // 2 + 1, N_POSE, N_POSE),
    "sound_mean": (3,),
    "pace": (3 * len(PACE_LAGS),),
    "usual_pace": (1,),
    "drive": (3 * len(DRIVE_LAGS), N_POSE),
    "usual_manner": (3,),
}
LARGEST = 50.0  # of their numbers


@dataclass(frozen=True)
class HeadModel:
    """What training gives.

    Attributes:
        style_mean, style_cov: (17,) and (17, 17), how people's styles are distributed.
        calm_tail: (1,) how much farther the calm half of people is from the middle than the lively half.
        bias: (14,) what bursts add to a style: most stretches of a head are calmer than its mean.
        unit: (7,) standard deviation of all heads.
        log_level: (257, 7) logarithm of the power spectrum of a channel of unit spread.
        slope: (257, 7) its derivative by log speed over spread.
        coherence: (2, 257, 7, 7) of the channels, real and imaginary.
        sound_mean: (3,) of the sound's features.
        pace: from these features at ``PACE_LAGS`` to the logarithm of the speed's square; its mean is ``usual_pace``.
        drive: the same at ``DRIVE_LAGS`` to the pose in spreads.
        usual_manner: (3,) what the last three numbers of a style count from.
    """

    style_mean: Doubles
    style_cov: Doubles
    calm_tail: Doubles
    bias: Doubles
    unit: Doubles
    log_level: Doubles
    slope: Doubles
    coherence: Doubles
    sound_mean: Doubles
    pace: Doubles
    usual_pace: Doubles
    drive: Doubles
    usual_manner: Doubles

    @classmethod
    def load(cls, path: str | Path) -> HeadModel:
        """Read safetensors that ``kptalk train head`` wrote.

        Raises:
            WeightsError: the file is absent or damaged, or a tensor cannot be that of a head.
        """
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"cannot read the head's motion {path}: {explain(error)}") from error
        for name, shape in SHAPES.items():
            if name not in tensors:
                raise WeightsError(f"{path} lacks the tensor {name}")
            value = tensors[name]
            if value.shape != shape or value.dtype.kind != "f":
                raise WeightsError(f"{path} is damaged: {name} is {value.dtype} {value.shape}, expected {shape}")
            if not ((value >= (1e-6 if name == "unit" else -LARGEST)) & (value <= LARGEST)).all():
                raise WeightsError(f"{path} is damaged: {name} holds numbers that no head has")
        return cls(**{each.name: tensors[each.name].astype(np.float64) for each in fields(cls)})

    @cached_property
    def components(self) -> Doubles:
        """(17, 17): principal components of people's styles, each as long as one standard deviation, largest first.

        The first, the liveliness, is 1 where people move more.
        """
        values, vectors = np.linalg.eigh(self.style_cov)
        ways = (vectors * np.sqrt(np.maximum(values, 0))).T[::-1]
        return np.asarray(ways * np.sign(ways[:, : 2 * N_POSE].sum(1) + 1e-9)[:, None])

    def draw_style(self, seed: int, lively: float | None = None) -> Doubles:
        """Style (17,) of a person drawn by ``seed``, who is as lively as given, in standard deviations of people."""
        drawn = np.clip(np.random.default_rng([seed, 5]).standard_normal(N_STYLE), -WIDEST, WIDEST)
        tail = float(np.clip(self.calm_tail[0], 0.5, 2.0))
        drawn[0] *= 2 * (tail if drawn[0] < 0 else 1) / (1 + tail)
        if lively is not None:
            drawn[0] = lively
        return np.asarray(self.style_mean + drawn @ self.components)

    def with_yaw(self, style: Doubles, yaw: float) -> Doubles:
        """The style of which the yaw spreads by so many degrees, and the rest goes along."""
        return np.asarray(style + self.style_cov[1] / self.style_cov[1, 1] * (np.log(yaw) - style[1]))

    def livelier(self, style: Doubles, amount: float) -> Doubles:
        """A style, livelier by ``amount`` standard deviations of people."""
        return np.asarray(style + amount * self.components[0])


def style_of(pose: Floats) -> Doubles:
    """Log spread and log speed per second (14,) of a pose (T, 7) at 25 fps."""
    speed = FPS * np.diff(pose, axis=0).std(0)
    return np.asarray(np.log(np.concatenate([pose.std(0), speed]) + 1e-6), np.float64)


@dataclass(frozen=True)
class HeadState:
    """Where a stream stands; a value.

    ``filters`` (160, 7, 7) and ``spread`` (7,) are the style's; ``noise`` (159, 7) still rings; ``slow`` (2, 8) are the
    low-passes of log sigma; ``levels`` (n,) are those of the sound from ``PAST`` frames before ``frame`` on.
    """

    seed: int
    filters: Doubles
    spread: Doubles
    noise: Doubles
    slow: Doubles
    levels: Doubles
    frame: int = 0


def start(model: HeadModel, style: Floats, seed: int) -> HeadState:
    """State before the first frame: a head at rest in the photo's pose.

    Raises:
        WeightsError: the model's numbers are not those of a head.
    """
    own = np.asarray(style[: 2 * N_POSE] - model.bias, np.float64)
    noise, slow = np.zeros((TAPS - 1, N_POSE)), np.zeros((2, N_POSE + 1))
    return HeadState(seed, style_filter(model, own), np.exp(own[SPREAD]), noise, slow, np.zeros(0))


def step(model: HeadModel, levels: Floats, count: int, state: HeadState) -> tuple[Doubles, HeadState]:
    """Pose of the next frames.

    Args:
        model: that the stream was started with.
        levels: (n,) mel levels of the sound, from the mean of the speech, at the frames that follow those heard before.
        count: of frames wanted. Of the sound, ``AHEAD`` frames after them should be known; else the last level holds.
        state: of the stream.

    Returns:
        the pose (count, 7) from the photo's own, and the state. In whatever pieces frames are asked for, they are the
        same to the bit, as long as ``AHEAD`` frames of sound are known.
    """
    known = np.concatenate([state.levels, levels])
    if not len(state.levels):
        known = np.concatenate([np.repeat(known[:1], PAST), known])
    pace, drive = sound_effect(model, known, count)
    w = np.zeros((count, 2 * N_POSE + 1))
    for k in range(count):
        w[k] = np.random.default_rng([state.seed, 4, state.frame + k]).standard_normal(2 * N_POSE + 1)
    slow, log_sigma = state.slow, np.zeros((count, N_POSE + 1))
    keep = np.exp(-1 / BURST_FRAMES)
    for k in range(count):
        once = keep * slow[0] + (1 - keep) * w[k, N_POSE:]
        slow = np.stack([once, keep * slow[1] + (1 - keep) * once])
        log_sigma[k] = slow[1]
    log_sigma /= np.sqrt((1 - keep) ** 4 * (1 + keep**2) / (1 - keep**2) ** 3)  # to unit variance
    bursts = BURST_SHARED * log_sigma[:, :1] + BURST_OWN * log_sigma[:, 1:] - (BURST_SHARED**2 + BURST_OWN**2)
    noise = np.concatenate([state.noise, np.exp(bursts + pace[:, None]) * w[:, :N_POSE]])
    rung = np.zeros((count, N_POSE, N_POSE))  # sums number by number: a product of matrices may round by its shape
    for k in range(TAPS):
        rung += noise[TAPS - 1 - k : TAPS - 1 - k + count, None] * state.filters[k]
    frames = np.arange(state.frame, state.frame + count)[:, None]
    pose = (rung.sum(-1) + drive * (1 - np.exp(-((frames / START) ** 2)))) * state.spread
    limit = LIMIT * model.unit
    pose = pose / (1 + (pose / limit) ** 4) ** 0.25
    return pose, replace(state, noise=noise[count:], slow=slow, levels=known[count:], frame=state.frame + count)


def sound_effect(model: HeadModel, levels: Floats, count: int) -> tuple[Doubles, Doubles]:
    """What the sound does to ``count`` frames: to log sigma (count,), and to the pose in spreads (count, 7).

    ``levels`` (n,) begin ``PAST`` frames before the first of them; what is not known repeats the last level.
    """
    heard = sound_features(levels, count) - model.sound_mean
    # Sums row by row, as the frames must not depend on how many there are.
    pace = (heard[:, PAST - PACE_LAGS].reshape(count, -1) * model.pace).sum(1) - model.usual_pace
    now = heard[:, PAST - DRIVE_LAGS].reshape(count, -1, 1)
    return np.clip(SOUND_GAIN * pace / 2, -LOUDEST, LOUDEST), (now * model.drive).sum(1)


def sound_features(levels: Floats, count: int) -> Doubles:
    """What is heard around each of ``count`` frames, (count, PAST + 1 + AHEAD, 3).

    Loudness, speech activity, how lively the loudness is; from ``PAST`` frames before to ``AHEAD`` frames after.
    """
    width = PAST + 1 + AHEAD
    padded = np.concatenate([levels, np.repeat(levels[-1:], max(0, count + width - 1 - len(levels)))])
    around = np.lib.stride_tricks.sliding_window_view(padded, width)[:count]
    loud = np.clip(_blurred(around, 1), -2, 2)
    active = _blurred(np.clip((loud + 1.6) / 0.8, 0, 1), 2)
    return np.stack([loud, active, 5 * _blurred(np.abs(np.gradient(loud, axis=1)), 4)], -1)


def style_filter(model: HeadModel, style: Floats) -> Doubles:
    """Filter (160, 7, 7) of unit spread with the spectrum of a style (14,): minimum phase, then an all-pass.

    Raises:
        WeightsError: the model's numbers are not those of a head.
    """
    covariance = _covariance(model, style)[:TAPS]
    both = np.concatenate([covariance[::-1], covariance[1:].transpose(0, 2, 1)])  # lags TAPS - 1 to -(TAPS - 1)
    index = TAPS - 1 - (np.arange(TAPS)[:, None] - np.arange(TAPS))
    matrix = both[index].transpose(0, 2, 1, 3).reshape(TAPS * N_POSE, -1)
    try:
        factor = np.linalg.cholesky(matrix + 1e-7 * np.eye(len(matrix)))
    except np.linalg.LinAlgError as error:
        raise WeightsError("the model's motion of the head makes no filter: its weights are damaged") from error
    minimum = factor[-N_POSE:].reshape(N_POSE, TAPS, N_POSE).transpose(1, 0, 2)[::-1]
    out, before, last = np.zeros_like(minimum), np.zeros((N_POSE, N_POSE)), np.zeros((N_POSE, N_POSE))
    for k in range(TAPS):
        last = out[k] = -ALL_PASS * minimum[k] + before + ALL_PASS * last
        before = minimum[k]
    return out


def _covariance(model: HeadModel, style: Floats) -> Doubles:
    """(256, 7, 7) for lags of 0 to 255 frames; spread within ``LENGTH`` frames is 1, speed is the style's."""
    wanted = style[SPEED] - style[SPREAD]
    top = int(np.searchsorted(FREQUENCY, TOP))
    level, slope = np.exp(model.log_level), model.slope.copy()
    level[top:] = level[top] * (FREQUENCY[top:, None] / FREQUENCY[top]) ** -8
    slope[top:] = slope[top]
    lag = np.arange(1, FFT // 2)
    tilt = np.zeros(N_POSE)
    for _ in range(10):
        power = level * np.exp(slope * tilt)
        own = np.fft.irfft(power, axis=0)[: FFT // 2]
        inside = own[0] * (1 - 1 / LENGTH) - 2 / LENGTH * ((1 - lag / LENGTH) @ own[1:])
        inside = np.maximum(inside, 1e-3 * own[0])
        speed = FPS * np.sqrt(np.maximum(2 * (own[0] - own[1]) / inside, 1e-12))
        tilt = np.clip(tilt + wanted - np.log(speed), -2.5, 2.5)
    root = np.sqrt(power / inside)
    coherence = model.coherence[0] + 1j * model.coherence[1]
    spectrum = coherence * root[:, :, None] * root[:, None]
    return np.asarray(np.fft.irfft(spectrum, axis=0)[: FFT // 2])


def _blurred(values: Floats, sigma: int) -> Doubles:
    """Rows (n, m) convolved with a Gaussian; their ends repeat."""
    radius = 4 * sigma
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded = np.pad(values, ((0, 0), (radius, radius)), "edge")
    length = values.shape[1]
    return np.asarray(sum(w * padded[:, k : k + length] for k, w in enumerate(kernel / kernel.sum())), np.float64)
