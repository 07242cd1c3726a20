"""The embedded sync metric on real people."""

import hashlib
from itertools import permutations

import numpy as np
import pytest
from measuring import measure
from media_shared import clip_path

from kptalk.evaluate.metric import AudioPair, FrameSample
from kptalk.evaluate.metrics.sync import SyncMetric, av_offset
from kptalk.evaluate.sampling import read_audio, sample_frames
from kptalk.face.measures import lip_shape
from kptalk.networks.sync import SyncConfig, SyncModel
from kptalk.weights.header import embedded_path
from kptalk.weights.store import load_model

# Own offset within a frame. The first person here was never trained on, the second was; the others never.
CLIPS = ("grid_flbbc_1", "grid_s2_1")
HELD_OUT = ("icl_T4_3", "lrs3_JSSc7hYKstI_1", "talking_face_FAzSK8PLmGI_1")
BLACK = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def metric():
    return SyncMetric()


@pytest.fixture(scope="module")
def model():
    return load_model(embedded_path("sync"), SyncModel, SyncConfig)


@pytest.fixture(scope="module")
def clips(model):
    """Name to meshes (T, 478, 3), lip shapes and sound of at most 5 s."""

    class Clips(dict):
        def __missing__(self, name):
            path = clip_path(name)
            meshes = np.stack([sample.mesh for sample in sample_frames(path, 5)])
            self[name] = meshes, lip_shape(meshes, model.held_points.numpy()), read_audio(path, len(meshes))
            return self[name]

    return Clips()


def run(metric, meshes, sound):
    samples = [FrameSample(BLACK, mesh) for mesh in meshes]
    return measure(metric, samples, audio=AudioPair(generated=sound, real=np.zeros_like(sound)))


@pytest.mark.parametrize("name", CLIPS + HELD_OUT)
@pytest.mark.parametrize("shift", [-10, -4, 0, 3, 10])
def test_sound_that_was_moved_is_found(model, clips, name, shift):
    _, lips, sound = clips[name]
    found = av_offset(model, lips[max(0, shift) :], sound[640 * max(0, -shift) :])
    assert abs(-found.offset - shift) <= 1
    assert found.curve.shape == (31,)
    assert found.correlation == found.curve[15]


@pytest.mark.parametrize("names", [CLIPS, HELD_OUT], ids=["free", "held out"])
def test_another_clips_sound_fits_less(metric, clips, names):
    for name, other in permutations(names, 2):
        meshes, _, sound = clips[name]
        own = run(metric, meshes, sound)
        assert run(metric, meshes, clips[other][2])["sync_r"] < own["sync_r"] - 0.1


def test_judged_twice_is_the_same(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    assert run(metric, meshes, sound) == run(metric, meshes, sound)


def test_the_generated_sound_is_judged_not_the_real_one(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    assert run(metric, meshes, sound)["sync_r"] > 0.2  # the real one is silent


def test_frames_without_a_face_are_bridged(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    holes = [None if k % 20 < 4 else mesh for k, mesh in enumerate(meshes)]
    whole, bridged = run(metric, meshes, sound), run(metric, holes, sound)
    assert abs(bridged["av_offset"] - whole["av_offset"]) <= 1
    assert bridged["sync_r"] == pytest.approx(whole["sync_r"], abs=0.1)


@pytest.mark.parametrize("frames", [0, 1, 49])
def test_too_short(metric, clips, frames):
    meshes, _, sound = clips[CLIPS[0]]
    assert all(np.isnan(value) for value in run(metric, meshes[:frames], sound[: 640 * frames]).values())


def test_sound_that_ends_early_makes_a_clip_short(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    assert all(np.isnan(value) for value in run(metric, meshes, sound[: 640 * 49]).values())


def test_no_face(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    assert all(np.isnan(value) for value in run(metric, [None] * len(meshes), sound).values())


def test_lips_that_do_not_move_do_not_fit_and_have_no_offset(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    values = run(metric, [meshes[0]] * len(meshes), sound)
    assert values["sync_r"] == pytest.approx(0, abs=1e-3)
    assert np.isnan(values["av_offset"])


def test_silence_does_not_fit_and_has_no_offset(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    values = run(metric, meshes, np.zeros_like(sound))
    assert values["sync_r"] == pytest.approx(0, abs=1e-3)
    assert np.isnan(values["av_offset"])


def test_columns_name_what_is_measured(metric, clips):
    meshes, _, sound = clips[CLIPS[0]]
    assert list(run(metric, meshes, sound)) == [column.key for column in metric.columns] == ["av_offset", "sync_r"]
    assert metric.weights == {"sync": hashlib.sha256(embedded_path("sync").read_bytes()).hexdigest()}
