"""Head-pose diversity: known rotations, the reference's numbers, and the two kinds of units told apart."""

import numpy as np
import pytest
import torch
from degrade import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_weights import weights

from kptalk.errors import WeightsError
from kptalk.evaluate.metric import Heard, Sight
from kptalk.evaluate.metrics.diversity import (
    HopenetJudge,
    HopenetMeter,
    PoseJudge,
    dlib_box,
    head_rotation,
    mean_std,
)
from kptalk.evaluate.sampling import watch
from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.hopenet import Hopenet, HopenetConfig, degrees
from kptalk.weights.store import embedded_path, save_model

SILENCE = Heard(np.zeros(0, np.float32), np.zeros(0, np.float32))
TEMPLATE = FaceMeshSpace.load(embedded_path("facemesh")).template
BLACK = np.zeros((200, 200, 3), np.uint8)


def turned(yaw, pitch, roll):
    mesh = 60 * TEMPLATE @ rotation_matrix(np.array([yaw, pitch, roll], float)) + [100, 90, 0]
    return mesh.astype(np.float32)


def measure(meter, sights):
    for sight in sights:
        meter.add(sight, Sight(BLACK, None))
    return meter.result(SILENCE)


class Level:
    """Stands in for Hopenet: every output is the brightness of the picture's middle."""

    config = HopenetConfig()

    def __init__(self):
        self.seen = 0

    def __call__(self, pictures):
        self.seen += len(pictures)
        return pictures[:, :1, 112, 112, None].expand(-1, 3, 66).clone()


angle = st.floats(-40, 40)


@settings(max_examples=30, deadline=None)
@given(angle, angle, angle)
def test_rotation_of_a_turned_head(yaw, pitch, roll):
    np.testing.assert_allclose(head_rotation(turned(yaw, pitch, roll)), [yaw, pitch, roll], atol=1e-3)


def test_spread_of_known_angles():
    angles = np.random.default_rng(0).normal(0, [8, 4, 2], (50, 3))
    values = measure(PoseJudge().start(), [Sight(BLACK, turned(*row)) for row in angles])
    expected = angles.std(0)
    assert list(values) == [column.key for column in PoseJudge.columns]
    np.testing.assert_allclose(list(values.values()), [expected.mean(), *expected], rtol=1e-3)


def test_frames_without_a_face_do_not_count():
    faces = [Sight(BLACK, turned(k, 0, 0)) for k in range(10)]
    gaps = [sight for face in faces for sight in (face, Sight(BLACK, None))]
    assert measure(PoseJudge().start(), gaps) == measure(PoseJudge().start(), faces)


@pytest.mark.parametrize("faces", [0, 1])
def test_too_few_faces_give_nan(faces):
    sights = [Sight(BLACK, turned(5, 0, 0))] * faces + [Sight(BLACK, None)] * 3
    for meter in (PoseJudge().start(), HopenetMeter(Level())):
        assert np.isnan(list(measure(meter, sights).values())).all()


def test_a_frozen_clip_is_less_diverse_than_the_real_one(shared_data):
    sights = list(watch(shared_data / "clips" / "val" / "aoc_3.mp4", 2))
    moving = measure(PoseJudge().start(), sights)
    frozen = measure(PoseJudge().start(), sights[:1] * len(sights))
    assert moving["pose_std"] > 0.5
    assert frozen["pose_std"] < 1e-6


def test_freezing_lowers_every_diversity_in_order():
    """A head that turns steadily, in light that grows."""
    sights = [Sight(np.full_like(BLACK, 4 * k), turned(k / 2, k / 4, k / 8)) for k in range(60)]
    stuck = [frozen(sights, k) for k in (60, 30, 10, 0)]
    for start in (PoseJudge().start, lambda: HopenetMeter(Level())):
        results = [measure(start(), video) for video in stuck]
        for key in set(results[0]) - {"diversity_hopenet"}:  # equal bins are no angle
            assert np.all(np.diff([result[key] for result in results]) < 0)
            assert results[-1][key] == pytest.approx(0, abs=1e-5)


def test_logits_and_degrees_equal_the_reference(parity):
    """Both variants on the stored outputs of two videos."""
    fixture = np.load(parity / "fixtures/hopenet.npz")
    logits = [fixture[f"std_logits_{k}"].astype(np.float32) for k in (0, 1)]
    expected = fixture["cal_std_yaw_pitch_roll_overall"]
    axes = [np.mean([mean_std(video[:, axis]) for video in logits]) for axis in range(3)]
    np.testing.assert_allclose(axes, expected[:3], rtol=1e-5)
    np.testing.assert_allclose(np.mean([mean_std(video) for video in logits]), expected[3], rtol=1e-5)
    for video, spread in zip(logits, fixture["std_of_degrees_per_file"], strict=True):
        angles = degrees(torch.from_numpy(video)).numpy()
        np.testing.assert_allclose([mean_std(angles[:, axis]) for axis in range(3)], spread, rtol=1e-5)


def test_only_the_first_200_frames_count():
    network = Level()
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, 230)
    mesh = turned(0, 0, 0)
    sights = [
        Sight(np.full((200, 200, 3), level, np.uint8), mesh if k % 10 else None) for k, level in enumerate(levels)
    ]
    values = measure(HopenetMeter(network), sights)
    assert network.seen == 180
    used = [level for k, level in enumerate(levels[:200]) if k % 10]
    assert values["diversity_logits"] == pytest.approx(np.std(used) / 255 / 0.229, rel=1e-4)


def test_faces_outside_the_picture_are_passed_over():
    network = Level()
    away = turned(0, 0, 0) + np.float32([1000, 1000, 0])
    assert np.isnan(measure(HopenetMeter(network), [Sight(BLACK, away)] * 5)["diversity_logits"])
    assert network.seen == 0


def test_dlib_box_is_a_square_on_the_face():
    mesh = turned(0, 0, 0)
    x0, y0, x1, y1 = dlib_box(mesh)
    assert abs((x1 - x0) - (y1 - y0)) <= 1
    assert y0 < mesh[[33, 263], 1].min()
    assert mesh[14, 1] < y1 < mesh[152, 1]


def test_judge_on_a_real_clip(parity, shared_data, tmp_path):
    network = Hopenet()
    network.load_state_dict(weights(parity, "hopenet"))
    path = tmp_path / "hopenet.safetensors"
    save_model(path, network, HopenetConfig())
    judge = HopenetJudge(path)
    assert len(judge.weights()["hopenet"]) == 64
    sights = list(watch(shared_data / "clips" / "val" / "aoc_3.mp4", 0.4))
    values = measure(judge.start(), sights)
    assert list(values) == [column.key for column in judge.columns]
    assert all(value > 0 for value in values.values())
    frozen = measure(judge.start(), sights[:1] * 3)
    assert max(frozen.values()) < 1e-3
    assert judge.summary() == {}


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="kptalk weights pull hopenet"):
        HopenetJudge()
