"""Head-pose diversity: known rotations, the reference's numbers, and the two kinds of units told apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from degrade import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import measure, with_network
from media_shared import CLIPS
from parity_weights import weights

from kptalk.errors import WeightsError
from kptalk.evaluate import head_pose
from kptalk.evaluate.head_pose import head_rotation, head_template
from kptalk.evaluate.metric import FrameSample
from kptalk.evaluate.metrics.diversity import HopenetMetric, PoseMetric, dlib_box, mean_std
from kptalk.evaluate.metrics.registry import open_metrics
from kptalk.evaluate.sampling import sample_frames
from kptalk.evaluate.tracks import TrackRecorder
from kptalk.face.geometry import rotation_matrix
from kptalk.face.topology import STABLE_POINTS
from kptalk.files import sha256
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import WindowGrid
from kptalk.networks.hopenet import Hopenet, HopenetConfig, degrees
from kptalk.weights.header import embedded_path
from kptalk.weights.store import save_model

TEMPLATE = FaceMeshSpace.load(embedded_path("facemesh")).template
TEMPLATE_SHA256 = "31a5314823c8e045a2b3511dd01d4a790117cc39604a602b602842814b2d0cdf"
BLACK = np.zeros((200, 200, 3), np.uint8)


def turned(yaw, pitch, roll):
    mesh = TEMPLATE.copy()
    mesh[STABLE_POINTS] = head_template()
    mesh = 60 * mesh @ rotation_matrix(np.array([yaw, pitch, roll], float)) + [100, 90, 0]
    return mesh.astype(np.float32)


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


def test_the_yardstick_of_the_head_pose_is_fixed():
    """It is a file of the evaluation: training another motion space moves no number."""
    assert sha256(Path(head_pose.__file__).with_name("head_template.npy")) == TEMPLATE_SHA256
    assert head_template().shape == (len(STABLE_POINTS), 3) == (44, 3)


def test_the_evaluation_does_without_the_trained_motion_space(monkeypatch):
    def refuse(*_):
        raise WeightsError("not readable")

    monkeypatch.setattr(FaceMeshSpace, "load", refuse)
    monkeypatch.setattr(FaceMeshSpace, "__init__", refuse)
    metrics, unavailable = open_metrics(WindowGrid(58, 44))
    assert not any("not readable" in reason for reason in unavailable.values())
    frames = [FrameSample(BLACK, turned(k % 10, 0, 0)) for k in range(60)]
    numbers = {key: value for metric in metrics for key, value in measure(metric, frames).items()}
    assert numbers["yaw_std"] == pytest.approx(np.std(np.arange(60) % 10), rel=1e-3)
    recorder = TrackRecorder()
    recorder.update(frames[7])
    np.testing.assert_allclose(recorder.compute().rotation, [[7, 0, 0]], atol=1e-3)


def test_spread_of_known_angles():
    angles = np.random.default_rng(0).normal(0, [8, 4, 2], (50, 3))
    values = measure(PoseMetric(), [FrameSample(BLACK, turned(*row)) for row in angles])
    expected = angles.std(0)
    assert list(values) == [column.key for column in PoseMetric.columns]
    np.testing.assert_allclose(list(values.values()), [expected.mean(), *expected], rtol=1e-3)


def test_frames_without_a_face_do_not_count():
    faces = [FrameSample(BLACK, turned(k, 0, 0)) for k in range(10)]
    gaps = [sample for face in faces for sample in (face, FrameSample(BLACK, None))]
    assert measure(PoseMetric(), gaps) == measure(PoseMetric(), faces)


@pytest.mark.parametrize("faces", [0, 1])
def test_too_few_faces_give_nan(faces):
    samples = [FrameSample(BLACK, turned(5, 0, 0))] * faces + [FrameSample(BLACK, None)] * 3
    for metric in (PoseMetric(), with_network(HopenetMetric, Level())):
        assert np.isnan(list(measure(metric, samples).values())).all()


def test_a_frozen_clip_is_less_diverse_than_the_real_one():
    samples = list(sample_frames(CLIPS / "grid_mlbax_1.mp4", 2))
    moving = measure(PoseMetric(), samples)
    frozen = measure(PoseMetric(), samples[:1] * len(samples))
    assert moving["pose_std"] > 0.5
    assert frozen["pose_std"] < 1e-6


def test_freezing_lowers_every_diversity_in_order():
    """A head that turns steadily, in light that grows."""
    samples = [FrameSample(np.full_like(BLACK, 4 * k), turned(k / 2, k / 4, k / 8)) for k in range(60)]
    stuck = [frozen(samples, k) for k in (60, 30, 10, 0)]
    for metric in (PoseMetric(), with_network(HopenetMetric, Level())):
        results = [measure(metric, video) for video in stuck]
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
    samples = [
        FrameSample(np.full((200, 200, 3), level, np.uint8), mesh if k % 10 else None) for k, level in enumerate(levels)
    ]
    values = measure(with_network(HopenetMetric, network), samples)
    assert network.seen == 180
    used = [level for k, level in enumerate(levels[:200]) if k % 10]
    assert values["diversity_logits"] == pytest.approx(np.std(used) / 255 / 0.229, rel=1e-4)


def test_faces_outside_the_picture_are_passed_over():
    network = Level()
    away = turned(0, 0, 0) + np.float32([1000, 1000, 0])
    assert np.isnan(measure(with_network(HopenetMetric, network), [FrameSample(BLACK, away)] * 5)["diversity_logits"])
    assert network.seen == 0


def test_dlib_box_is_a_square_on_the_face():
    mesh = turned(0, 0, 0)
    x0, y0, x1, y1 = dlib_box(mesh)
    assert abs((x1 - x0) - (y1 - y0)) <= 1
    assert y0 < mesh[[33, 263], 1].min()
    assert mesh[14, 1] < y1 < mesh[152, 1]


@pytest.mark.slow
def test_judge_on_a_real_clip(parity, tmp_path):
    network = Hopenet()
    network.load_state_dict(weights(parity, "hopenet"))
    path = tmp_path / "hopenet.safetensors"
    save_model(path, network, HopenetConfig())
    metric = HopenetMetric(path)
    assert len(metric.weights["hopenet"]) == 64
    samples = list(sample_frames(CLIPS / "grid_mlbax_1.mp4", 0.4))
    values = measure(metric, samples)
    assert list(values) == [column.key for column in metric.columns]
    assert all(value > 0 for value in values.values())
    frozen = measure(metric, samples[:1] * 3)
    assert max(frozen.values()) < 1e-3
