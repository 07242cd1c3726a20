"""How a head moves: how fast, how much of it is trembling, whether it bursts and rests, and how far people differ.

Spread alone can be had by wobbling. A wobble is too fast for its spread, has its power where real heads have hardly
any, goes on evenly, and is the same for everybody: each of these numbers tells it from a head, so all of them are to be
near the real video's. Angles are FaceMesh's, with the tracker's noise smoothed away as in training.
"""

import numpy as np
from numpy.typing import NDArray

from kptalk.evaluate.head_pose import head_rotation
from kptalk.evaluate.metric import FPS, AudioPair, FrameSample, Metric, specs
from kptalk.motion.filters.savgol import smooth_values
from kptalk.types import Array, Floats

AXES = ("yaw", "pitch", "roll")
MIN_FRAMES = 50  # frames with a face: two seconds
MIN_CLIPS = 5  # of which the 90th and the 10th percentile say anything
FAST = 2.5  # Hz; of a real head's power, less than 1 % is above it
BURST = 13  # frames over which the speed is taken: half a second
SLOWEST = 0.05  # of the root mean square of the speed; what is slower counts as this
STILL = 1e-3  # degrees; a head of a smaller spread does not move


class HeadMetric(Metric):
    """Speed, fast share and bursts of the generated head, and how much the clips' heads differ.

    NaN for less than two seconds with a face; ``head_people`` for fewer than five clips. Keeps three numbers a frame.
    """

    columns = specs("yaw_speed", "pitch_speed", "roll_speed", "head_fast", "head_bursts", "head_people")

    def __init__(self) -> None:
        super().__init__()
        self._spreads: list[Floats] = []

    def reset(self) -> None:
        self._angles: list[Array] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        lost = np.full(3, np.nan, np.float32)
        self._angles.append(lost if generated.mesh is None else head_rotation(generated.mesh))

    def compute(self, audio: AudioPair) -> dict[str, float]:
        angles = np.reshape(self._angles, (-1, 3))
        if np.isfinite(angles[:, 0]).sum() < MIN_FRAMES:
            return self.no_result()
        steady = smooth_values(_without_gaps(angles), FPS)
        self._spreads.append(steady.std(0))
        speeds = np.sqrt((_velocity(steady) ** 2).mean(0))
        values = {f"{axis}_speed": float(speed) for axis, speed in zip(AXES, speeds, strict=True)}
        numbers = {"head_fast": float(100 * fast_share(steady).mean()), "head_bursts": bursts(steady)}
        return self.no_result() | values | numbers

    def give(self) -> list[Floats]:
        spreads, self._spreads = self._spreads, []
        return spreads

    def take(self, part: list[Floats]) -> None:
        self._spreads += part

    def compute_overall(self) -> dict[str, float]:
        spreads, self._spreads = np.reshape(self._spreads, (-1, 3)), []
        return {"head_people": difference(spreads)}


def fast_share(angles: Floats) -> NDArray[np.float64]:
    """Share of each angle's power that is above 2.5 Hz, (T, 3) degrees to (3,); NaN where it does not move."""
    moved = (angles - angles.mean(0)) * np.hanning(len(angles))[:, None]
    power = np.abs(np.fft.rfft(moved, axis=0)) ** 2
    fast = np.fft.rfftfreq(len(angles), float(1 / FPS)) > FAST
    total = np.where(angles.std(0) > STILL, power.sum(0), np.nan)
    return np.asarray(power[fast].sum(0) / total)


def bursts(angles: Floats) -> float:
    """Standard deviation of the log of the head's speed over half a second, from angles (T, 3) in degrees.

    Near 0 for whatever goes on evenly, 0.2 for Gaussian noise with a head's spectrum, 0.45 for most real heads. NaN for
    a head that does not move.
    """
    power = (_velocity(angles) ** 2).sum(1)
    floor = SLOWEST**2 * power.mean()
    if angles.std(0).max() <= STILL:
        return float("nan")
    smooth = np.convolve(power, np.full(BURST, 1 / BURST), "valid")
    return float(np.log(np.sqrt(np.maximum(smooth, floor))).std())


def difference(spreads: Floats) -> float:
    """How much heads differ: 90th over 10th percentile of the clips' spreads (N, 3), geometric mean of the angles."""
    if len(spreads) < MIN_CLIPS:
        return float("nan")
    low, high = np.percentile(np.log(np.maximum(spreads, STILL)), [10, 90], axis=0)
    return float(np.exp((high - low).mean()))


def _velocity(angles: Floats) -> Floats:
    """Degrees a second, (T - 1, 3)."""
    return np.asarray(np.diff(angles, axis=0) * float(FPS))


def _without_gaps(angles: Array) -> Array:
    """Angles (T, 3) with those of frames without a face, which are NaN, interpolated."""
    seen, frames = np.isfinite(angles[:, 0]), np.arange(len(angles))
    return np.stack([np.interp(frames, frames[seen], column[seen]) for column in angles.T], 1)
