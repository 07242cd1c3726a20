"""Beat alignment: do the head and face pause or turn where the speech has its beats?

Audio beats B^a come from librosa's beat tracker at 22.05 kHz. Motion beats B^m are the moments at which the landmarks'
mean speed, smoothed by a Gaussian of sigma 5 frames, has a local minimum. With sigma = 0.1 s,

    beat_align           = 1/|B^m| sum over m in B^m of exp(-min over a in B^a of (m - a)^2 / (2 sigma^2))
    beat_align_reference = 1/|B^a| sum over a in B^a of exp(-min over m in B^m of (a - m)^2 / (2 sigma^2))

The first is AIST++'s (Li et al., "AI Choreographer", ICCV 2021); the second, the other way round, is what KDTalker's
``beat_align_score`` computes. That code picks 68 FaceMesh points, some of them twice; which ones is unknown here. Ours
correspond to the 68 points of the iBUG 300-W scheme, each once. Frames without a face are bridged in straight lines,
where the reference leaves them out and so moves all later beats.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelmin, resample_poly

from kptalk.evaluate.metric import FPS, RATE, AudioPair, FrameSample, Metric, require_extra, specs
from kptalk.types import Array, Floats

SIGMA = 0.1  # s
SMOOTHING = 5  # frames
BEAT_RATE = 22_050  # Hz, librosa's
MIN_AUDIO = 0.5  # s, below which no beat is looked for; the tracker's windows are 0.1 s long
LANDMARKS = np.array(
    [127, 234, 93, 132, 58, 172, 136, 149, 152, 378, 365, 397, 288, 361, 323, 454, 356]  # jaw, left to right
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300]  # brows
    + [168, 197, 5, 4, 98, 97, 2, 326, 327]  # nose: bridge, then below the nostrils
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]  # eyes
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181]  # outer lips
    + [78, 81, 13, 311, 308, 402, 14, 178]  # inner lips
)


def motion_beats(landmarks: Floats) -> NDArray[np.int64]:
    """Frames at which the motion pauses: ``landmarks`` (T, N, 3), T >= 2, in any unit, to frame numbers."""
    speed = np.linalg.norm(np.diff(np.asarray(landmarks, np.float64), axis=0), axis=-1).mean(-1)
    return np.asarray(argrelmin(gaussian_filter1d(speed, SMOOTHING))[0])


def audio_beats(audio: Array) -> Floats:
    """Beats of mono 16 kHz audio in seconds; none where it is shorter than half a second.

    Raises:
        MissingExtra: librosa is not installed.
    """
    if len(audio) < MIN_AUDIO * RATE:
        return np.zeros(0)
    beat_track = require_extra("librosa.beat", "beat alignment").beat_track
    resampled = resample_poly(audio, BEAT_RATE // 50, RATE // 50)
    return np.asarray(beat_track(y=resampled, sr=BEAT_RATE, units="time")[1], np.float64)


def alignment(beats: Floats, others: Floats) -> float:
    """How near, 0 to 1, each of ``beats`` is to its nearest of ``others``, both in seconds; NaN where one has none."""
    if not len(beats) or not len(others):
        return float("nan")
    apart = np.abs(beats[:, None] - others).min(1)
    return float(np.exp(-(apart**2) / (2 * SIGMA**2)).mean())


class BeatsMetric(Metric):
    """Beat alignment of the generated video with the generated file's own audio, both directions.

    NaN where the motion or the audio has no beat, or fewer than two frames have a face. Keeps 68 landmarks of every
    frame (800 bytes a frame).
    """

    requires = ("librosa", "beat alignment")
    columns = specs("beat_align", "beat_align_reference")

    def reset(self) -> None:
        self._frames = 0
        self._seen: list[int] = []
        self._points: list[Array] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        if generated.mesh is not None:
            self._seen.append(self._frames)
            self._points.append(generated.mesh[LANDMARKS])
        self._frames += 1

    def compute(self, audio: AudioPair) -> dict[str, float]:
        motion = np.zeros(0)
        if len(self._points) > 1:
            # From the first face to the last: beyond them there is nothing to go by.
            moments = np.arange(self._seen[0], self._seen[-1] + 1)
            flat = np.stack(self._points).reshape(len(self._points), -1)
            track = np.stack([np.interp(moments, self._seen, values) for values in flat.T], -1)
            motion = (self._seen[0] + motion_beats(track.reshape(len(moments), -1, 3))) / float(FPS)
        beats = audio_beats(audio.generated)
        return {"beat_align": alignment(motion, beats), "beat_align_reference": alignment(beats, motion)}
