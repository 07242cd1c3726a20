"""Training videos brought into step: the judge follows a shift, and what it says is cut off."""

from dataclasses import replace

import numpy as np
import pytest
from media_shared import CLIPS, clip_landmarks

from kptalk.media.audio import Speech
from kptalk.train import lag
from kptalk.train.dataset import TrackedClip
from kptalk.types import SAMPLE_RATE

FRAME = SAMPLE_RATE // 25


@pytest.fixture(scope="module")
def judge():
    return lag.load_judge()


@pytest.fixture(scope="module")
def clip(judge):
    """Three seconds of a person who speaks, in step."""
    path = CLIPS / "grid_mlbax_1.mp4"
    sound = np.concatenate(list(Speech.open(path).chunks()))
    return lag.in_step(TrackedClip(clip_landmarks(path, 3), sound, "a"), judge)


def late(clip, frames):
    """The same video, its sound so many frames later."""
    if frames < 0:
        return replace(clip, sound=clip.sound[-frames * FRAME :])
    return replace(clip, sound=np.concatenate([np.zeros(frames * FRAME, np.float32), clip.sound]))


@pytest.mark.parametrize("frames", [-3, -1, 0, 2, 3])
def test_a_shift_is_found_and_taken_out(clip, judge, frames):
    shifted = late(clip, frames)
    assert lag.sound_lag(shifted, judge) == frames
    mended = lag.in_step(shifted, judge)
    assert abs(lag.sound_lag(mended, judge)) <= 1
    assert len(mended.landmarks) == len(clip.landmarks) + min(frames, 0)


@pytest.mark.parametrize("frames", [0, 4, -8])
def test_nothing_to_mend_or_too_much_to_believe(clip, judge, monkeypatch, frames):
    monkeypatch.setattr(lag, "sound_lag", lambda *_: frames)
    assert lag.in_step(clip, judge) is clip


def test_short_videos_stay_as_they_are(clip, judge):
    short = replace(late(clip, 3), landmarks=clip.landmarks[:49])
    assert lag.in_step(short, judge) is short
