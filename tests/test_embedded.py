"""The embedded weights: what a listener would notice at once, measured on the motion."""

import numpy as np
import pytest
import torch
from fakes import same
from media_shared import portrait_of

from kptalk.audio.windows import SpeechWindows
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.media.audio import Speech
from kptalk.motion.facemesh.generator import LOOKAHEAD, OVERLAP
from kptalk.motion.generator import FPS, WINDOW
from kptalk.options import Options
from kptalk.pipeline import Pipeline
from kptalk.types import Motion

STRIDE = WINDOW - LOOKAHEAD - OVERLAP
PORTRAITS = ["sadtalker_people_0", "hdtf_BenCardin1", "hallo_7"]


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.from_pretrained("embedded", "cpu")


def test_loading_changes_nothing_of_the_process():
    """A server or notebook keeps its own number of threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        Pipeline.from_pretrained("embedded", "cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def source_of(pipeline, shared_data, name):
    return pipeline.method.space.extract(portrait_of(shared_data / "portraits" / f"{name}.jpg"))


@pytest.fixture(scope="module", params=PORTRAITS)
def source(request, pipeline, shared_data):
    return source_of(pipeline, shared_data, request.param)


@pytest.fixture(scope="module")
def one(pipeline, shared_data):
    return source_of(pipeline, shared_data, PORTRAITS[0])


def motion_of(pipeline, source, speech, seed=0):
    return Motion.concatenate(
        list(pipeline.method.speak(source, SpeechWindows(speech.chunks(), FPS), Options(seed=seed)))
    )


def openings(pipeline, source, motion):
    """Lip opening in face heights, and lid opening over the photo's."""
    meshes = pipeline.method.space.vertices(source, motion)
    lids = lid_opening(meshes).mean(-1)
    return lip_opening(meshes) / np.ptp(meshes[0, :, 1]), lids / lids[0]


def test_ten_seconds_of_silence(pipeline, source):
    motion = motion_of(pipeline, source, Speech.from_samples(np.zeros(160_000, np.float32), 16_000))
    lips, lids = openings(pipeline, source, motion)
    assert lips.std() < 0.01
    assert abs(np.median(lips)) < 0.01
    blinks = int((np.diff((lids < 0.5).astype(int)) == 1).sum())
    assert 1 <= blinks <= 6
    assert 0.3 < motion.rotation.std(0).max() < 6
    assert np.abs(np.diff(motion.rotation, axis=0)).max() < 3


def test_speech_moves_the_lips_with_its_sound(pipeline, source, shared_data):
    path = shared_data / "speech" / "en_jfk.wav"
    motion = motion_of(pipeline, source, Speech.open(path))
    lips, _ = openings(pipeline, source, motion)
    assert lips.std() > 0.012
    assert 0.04 < lips.max() < 0.3
    # Where nothing is said, the lips rest.
    sound = np.concatenate(list(Speech.open(path).chunks()))
    loud = np.sqrt((np.resize(sound, (len(lips), 640)) ** 2).mean(1))
    quiet = np.convolve(loud > 0.1 * np.quantile(loud, 0.95), np.ones(11), "same") == 0
    if quiet.any():
        assert lips[quiet].mean() < 0.5 * lips.mean()


def test_windows_join_without_a_jerk(pipeline, one, shared_data):
    motion = motion_of(pipeline, one, Speech.open(shared_data / "speech" / "hallo_2.wav"))
    points = pipeline.method.space.vertices(one, motion)[:, ::7] / one.unit
    jerk = np.linalg.norm(np.diff(points, 3, axis=0), axis=-1).mean(1)
    first = np.arange(WINDOW - LOOKAHEAD, len(motion) - STRIDE, STRIDE)
    at_joins = np.unique(np.concatenate([first - 3, first - 2, first - 1]))
    inside = np.delete(jerk, at_joins)
    assert np.quantile(jerk[at_joins], 0.95) <= 1.1 * np.quantile(inside, 0.95)


def test_seeds(pipeline, one, shared_data):
    speech = Speech.open(shared_data / "speech" / "derived_short_0.3s.wav")
    first, again, other = (motion_of(pipeline, one, speech, seed) for seed in (5, 5, 6))
    assert same(first, again)
    assert not same(first, other)
