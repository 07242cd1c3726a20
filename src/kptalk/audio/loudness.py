"""The loudness of a recording (EBU R 128), and the gain that brings it to a given one, as a stream.

How loud a voice was recorded says nothing about how wide the mouth opens. The loudness is that of the recording so far,
of ``FIRST`` steps at least and ``AHEAD`` steps more than are given out, gated as in ITU-R BS.1770-4. Where there is
nothing but silence or a quiet steady hum or hiss, no gain would make it speech: there the gain is zero.

All is done in steps of 0.1 s, so how the recording is cut into chunks does not matter.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kptalk.types import SAMPLE_RATE, Array

STEP = SAMPLE_RATE // 10  # samples
FIRST = 30  # steps, 3 s, measured before any sample is given out; the first motion window needs 2.7 s
AHEAD = 10  # steps, 1 s, measured beyond those given out: the gain is right before a voice begins
BLOCK = 4  # steps whose power is averaged before gating
SILENCE = -70.0  # LUFS, below which a block counts for nothing
RELATIVE_GATE = 10.0  # LU below the mean, likewise
STEADY = 2.1  # dB, spread of the steps' loudness: of speech one clip in a hundred stays below, of rooms nearly all
FEW = 13  # steps, too few to tell
USUAL = -26.0  # LUFS of a voice before any of it has been heard
STEADY_NOISE = -45.0  # LUFS, below which steady sound is taken for the noise of a room
_LOUDEST, _BINS_PER_LU = 20.0, 10
_BINS = int((_LOUDEST - SILENCE) * _BINS_PER_LU)

Floats64 = NDArray[np.float64]


@dataclass(frozen=True)
class LoudnessState:
    """Where a stream stands.

    ``waiting`` (n,) are the samples not yet given out, of which ``measured`` steps have been measured: ``counts`` and
    ``powers`` are number and power of all blocks so far by loudness, ``step_counts`` the number of all steps. ``steps``
    (m,) are the powers of the last steps, at most ``BLOCK``. ``gain`` is the last one; None before the first.
    """

    waiting: Array
    measured: int
    steps: Floats64
    counts: Floats64
    powers: Floats64
    step_counts: Floats64
    gain: float | None


def start() -> LoudnessState:
    """State before any sound."""
    return LoudnessState(
        np.zeros(0, np.float32), 0, np.zeros(0), np.zeros(_BINS), np.zeros(_BINS), np.zeros(_BINS), None
    )


def step(chunk: Array, target: float | None, state: LoudnessState) -> tuple[Array, LoudnessState]:
    """Take (n,) samples at 16 kHz; returns those that became known, at ``target`` LUFS; None leaves them alone."""
    waiting = np.concatenate([state.waiting, np.asarray(chunk, np.float32)])
    state, parts = replace(state, waiting=waiting), [waiting[:0]]
    begin = 0
    while begin + (state.measured + 1) * STEP <= len(waiting):
        end = begin + state.measured * STEP
        state = _measure(waiting[end : end + STEP], state)
        while state.measured > AHEAD and (state.gain is not None or state.measured >= FIRST):
            sound, state = _amplify(waiting[begin : begin + STEP], target, state)
            parts.append(sound)
            begin += STEP
    return np.concatenate(parts), replace(state, waiting=waiting[begin:])


def step_now(chunk: Array, target: float | None, state: LoudnessState) -> tuple[Array, LoudnessState]:
    """As ``step``, without looking ahead: all samples come back, (n,), at the gain of the sound before them.

    Until there has been speech, that is the gain for a voice of the usual loudness, ``USUAL``.
    """
    state = replace(state, waiting=np.concatenate([state.waiting, np.asarray(chunk, np.float32)]))
    while len(state.waiting) >= STEP:
        state = replace(_measure(state.waiting[:STEP], state), waiting=state.waiting[STEP:], measured=0)
    new = 1.0 if target is None else 10 ** ((target - USUAL) / 20)
    if target is not None and state.step_counts.sum():
        new = _gain(target, state)
    old = new if state.gain is None else state.gain
    ramp = old + (new - old) * np.arange(1, len(chunk) + 1) / max(1, len(chunk))
    return (chunk * ramp).astype(np.float32), replace(state, gain=new)


def finish(target: float | None, state: LoudnessState) -> tuple[Array, LoudnessState]:
    """The samples that remain, and the state after them, which knows the whole recording."""
    if len(state.steps) < BLOCK and len(state.waiting):  # shorter than a block
        steps = state.steps if len(state.steps) else [_power(np.resize(state.waiting, STEP))]
        state = _count(float(np.mean(steps)), state)
    parts = [state.waiting[:0]]
    for begin in range(0, len(state.waiting), STEP):
        sound, state = _amplify(state.waiting[begin : begin + STEP], target, state)
        parts.append(sound)
    return np.concatenate(parts), replace(state, waiting=state.waiting[:0], measured=0)


def loudness(state: LoudnessState) -> tuple[float, float]:
    """Integrated loudness in LUFS of the sound measured so far, and the spread of its steps in dB.

    (-inf, 0) where all of it is silence.
    """
    if not state.counts.any():
        return -np.inf, 0.0
    mean = _lufs(state.powers.sum() / state.counts.sum())
    loud = slice(max(0, _bin(mean - RELATIVE_GATE)), None)
    steps = np.repeat(np.arange(_BINS)[loud], state.step_counts[loud].astype(int)) / _BINS_PER_LU
    spread = float(steps.std()) if len(steps) else 0.0
    return _lufs(state.powers[loud].sum() / state.counts[loud].sum()), spread


def may_be_speech(state: LoudnessState) -> bool:
    """Whether there has been more than silence and the noise of a room."""
    level, spread = loudness(state)
    return level > SILENCE and (spread > STEADY or level > STEADY_NOISE or state.step_counts.sum() < FEW)


def _gain(target: float | None, state: LoudnessState) -> float:
    """Factor on the samples."""
    if target is None:
        return 1.0
    return float(10 ** ((target - loudness(state)[0]) / 20)) if may_be_speech(state) else 0.0


def _measure(samples: Array, state: LoudnessState) -> LoudnessState:
    """Add the sound of one step."""
    steps = np.concatenate([state.steps, [_power(samples)]])[-BLOCK:]
    step_counts = state.step_counts.copy()
    if (level := _lufs(steps[-1])) >= SILENCE:
        step_counts[_bin(level)] += 1
    state = replace(state, steps=steps, step_counts=step_counts, measured=state.measured + 1)
    return _count(float(steps.mean()), state) if len(steps) == BLOCK else state


def _count(power: float, state: LoudnessState) -> LoudnessState:
    """Add one block."""
    level = _lufs(power)
    if level < SILENCE:
        return state
    counts, powers, index = state.counts.copy(), state.powers.copy(), _bin(level)
    counts[index] += 1
    powers[index] += power
    return replace(state, counts=counts, powers=powers)


def _amplify(samples: Array, target: float | None, state: LoudnessState) -> tuple[Array, LoudnessState]:
    """One step of sound with a gain that runs from the last one to the present one."""
    new = _gain(target, state)
    old = new if state.gain is None else state.gain
    ramp = old + (new - old) * np.arange(1, len(samples) + 1) / STEP
    return (samples * ramp).astype(np.float32), replace(state, gain=new, measured=max(0, state.measured - 1))


def _power(samples: Array) -> np.float64:
    """Mean square of a step after BS.1770's weighting."""
    return np.float64(np.square(np.abs(np.fft.rfft(samples.astype(np.float64)))) @ _weighting())


def _lufs(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-30)) - 0.691)


def _bin(level: float) -> int:
    return min(int((level - SILENCE) * _BINS_PER_LU), _BINS - 1)


@cache
def _weighting() -> Floats64:
    """What every bin of a step's power spectrum counts: the two filters of BS.1770 and Parseval's factors."""
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(STEP, 1 / SAMPLE_RATE) / 48_000)  # the filters are given for 48 kHz
    shelf = np.polyval([1.19839281085285, -2.69169618940638, 1.53512485958697], delay)
    shelf /= np.polyval([0.73248077421585, -1.69065929318241, 1], delay)
    high_pass = np.polyval([1, -2, 1], delay) / np.polyval([0.99007225036621, -1.99004745483398, 1], delay)
    weights = np.full(len(delay), 2.0)
    weights[[0, -1]] = 1
    return np.asarray(weights * np.square(np.abs(shelf * high_pass)) / STEP**2)
