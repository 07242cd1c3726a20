"""Sound and lips of training videos brought into step: each has an AV offset of its own, often one or two frames.

The embedded judge of lip sync estimates it. Lips that move early in one video and late in the next would teach a
blurred mouth.
"""

from dataclasses import replace

import numpy as np
import torch

from kptalk.audio.sync_mel import STEPS, level_free, resample
from kptalk.face.measures import lip_shape
from kptalk.motion.generator import FPS
from kptalk.networks.sync import SEARCH, SyncConfig, SyncModel, lag_correlations
from kptalk.train.dataset import TrackedClip
from kptalk.types import SAMPLE_RATE, Array
from kptalk.weights.header import embedded_path
from kptalk.weights.store import load_model

SHORTEST = 50  # frames; of shorter videos no lag can be told
LARGEST = 3  # frames; where the judge finds more it is wrong, or the video is


def load_judge() -> SyncModel:
    """The embedded sync model."""
    return load_model(embedded_path("sync"), SyncModel, SyncConfig).eval()


@torch.inference_mode()
def lag_curve(clip: TrackedClip, judge: SyncModel) -> Array | None:
    """Correlation of lips and sound for every lag of the sound, -15 to 15 frames, (31,); None for under two seconds."""
    mel, count = clip.mel()
    lips = lip_shape(clip.landmarks, judge.held_points.numpy())[:count].astype(np.float32)
    if len(lips) < SHORTEST:
        return None
    sound = resample(level_free(mel), np.arange(STEPS * len(lips)) / STEPS)
    lip_track, sound_track = judge(*(torch.from_numpy(x)[None] for x in (lips - lips.mean(0), sound)))
    curve: Array = lag_correlations(lip_track, sound_track, torch.ones(1, 1, len(lips)))[0].numpy()
    return curve


def sound_lag(clip: TrackedClip, judge: SyncModel) -> int:
    """By how many frames the sound comes later than the lips, -15 to 15; 0 for less than two seconds."""
    curve = lag_curve(clip, judge)
    return 0 if curve is None else int(curve.argmax()) - SEARCH


def in_step(clip: TrackedClip, judge: SyncModel) -> TrackedClip:
    """The video with the beginning of its sound or of its pictures cut off, so that the judge finds no lag."""
    lag = sound_lag(clip, judge)
    if lag == 0 or abs(lag) > LARGEST:
        return clip
    if lag > 0:
        return replace(clip, sound=clip.sound[round(lag * SAMPLE_RATE / FPS) :])
    return replace(clip, landmarks=clip.landmarks[-lag:])
