"""One seed and one speech, one video: to the bit; another speech blinks and moves in its own time."""

import numpy as np
import pytest
from fakes import fake_pipeline, same

from kptalk.audio.windows import SpeechWindows
from kptalk.face.measures import lid_opening
from kptalk.motion.facemesh.space import to_head_frame
from kptalk.motion.generator import FPS
from kptalk.options import Options
from kptalk.types import SAMPLE_RATE, Motion

SECONDS = 12
STILL = Options().changed(pose="still", mouth_scale=0, expression_scale=0, ease_in_out=False)


def speech(number, seconds=SECONDS):
    """Syllables of noise, other ones for every number."""
    rng = np.random.default_rng(number)
    loud = np.repeat(rng.uniform(0, 0.5, -(-seconds * 8 // 1)), SAMPLE_RATE // 8)
    return (loud * rng.uniform(-1, 1, len(loud))).astype(np.float32)


@pytest.fixture(scope="module")
def made(space, source):
    method = fake_pipeline(space).method

    def motion(samples, options=STILL, pieces=SECONDS):
        return Motion.concatenate(
            list(method.generate(source, SpeechWindows(np.array_split(samples, pieces), FPS), options))
        )

    return motion


def blinks(space, source, motion):
    """Frames at which the lids begin to close."""
    upright = motion.with_fields(expression=to_head_frame(motion), rotation=np.zeros_like(motion.rotation))
    lids = lid_opening(space.vertices(source, upright)).mean(-1)
    shut = lids < 0.6 * np.median(lids)
    return np.flatnonzero(np.diff(shut.astype(int)) == 1)


def test_different_speeches_blink_at_different_times_and_as_often(space, source, made):
    found = [blinks(space, source, made(speech(number))) for number in range(12)]
    first = [frames[0] for frames in found]
    assert len(set(first)) >= 9
    assert np.ptp(first) >= 25  # a second
    per_minute = np.mean([len(frames) for frames in found]) * 60 / SECONDS
    assert 13 < per_minute < 21  # 17 is the usual number


def test_the_head_moves_in_its_own_way_too(made):
    yaw = np.stack([made(speech(number), Options(steps=2)).rotation[:, 0] for number in range(4)])
    apart = np.corrcoef(yaw)[np.triu_indices(4, 1)]
    assert np.median(np.abs(apart)) < 0.7  # one head motion for all speeches gives 0.98


def test_same_speech_same_motion_whatever_the_chunks(made):
    whole = made(speech(1), pieces=1)
    assert same(made(speech(1), pieces=1), whole)
    for pieces in (2, 7, 300):
        np.testing.assert_allclose(made(speech(1), pieces=pieces).expression, whole.expression, atol=1e-5)


def test_other_seeds_blink_at_other_times(space, source, made):
    first = {blinks(space, source, made(speech(1), STILL.changed(seed=seed)))[0] for seed in range(4)}
    assert len(first) > 2
