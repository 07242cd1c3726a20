"""Rotations: LivePortrait's convention, their inverse, and the similarity between two sets of points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kptalk.face.geometry import align, rotation_angles, rotation_matrix, smoothstep

ANGLES = st.tuples(st.floats(-80, 80), st.floats(-80, 80), st.floats(-170, 170))


@pytest.fixture(scope="module")
def conventions(parity):
    return np.load(parity / "fixtures" / "lp_pose_conventions.npz")


def test_matrices_are_those_of_liveportrait(conventions):
    pitch, yaw, roll = conventions["pitch_yaw_roll_deg"].T
    found = rotation_matrix(np.stack([yaw, pitch, roll], -1).astype(np.float64))
    assert np.abs(found - conventions["R"]).max() < 1e-6


def test_keypoints_are_those_of_liveportrait(conventions):
    def column(name):
        return conventions[f"kp_info_{name}"]

    angles = np.concatenate([column("yaw"), column("pitch"), column("roll")], 1).astype(np.float64)
    canonical, delta = column("kp").reshape(-1, 21, 3), column("exp").reshape(-1, 21, 3)
    translation = column("t") * (1, 1, 0)  # LivePortrait leaves the depth out
    found = column("scale")[..., None] * (canonical @ rotation_matrix(angles) + delta) + translation[:, None]
    assert np.abs(found - conventions["transform_keypoint"]).max() < 1e-5


@given(ANGLES)
def test_matrices_are_rotations(angles):
    matrix = rotation_matrix(np.array(angles))
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


@given(ANGLES)
def test_angles_come_back(angles):
    assert np.allclose(rotation_angles(rotation_matrix(np.array(angles))), angles, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 5), (0,)])
def test_any_number_of_rotations_at_once(shape):
    angles = np.random.default_rng(0).uniform(-40, 40, (*shape, 3))
    matrices = rotation_matrix(angles)
    assert matrices.shape == (*shape, 3, 3)
    assert np.allclose(rotation_angles(matrices), angles)


@pytest.mark.parametrize(
    ("angles", "point", "goes"),
    [
        ((0, 0, 0), (1, 2, 3), (1, 2, 3)),
        ((90, 0, 0), (0, 0, -1), (-1, 0, 0)),  # yaw: the nose turns to the left of the picture
        ((0, 90, 0), (0, 0, -1), (0, 1, 0)),  # pitch: the nose goes down
        ((0, 0, 90), (1, 0, 0), (0, 1, 0)),  # roll: clockwise in the picture
    ],
)
def test_directions(angles, point, goes):
    assert np.allclose(np.array(point) @ rotation_matrix(np.array(angles, float)), goes)


@given(ANGLES, st.floats(0.1, 500), st.tuples(*[st.floats(-1000, 1000)] * 3), st.integers(0, 99))
def test_align_recovers_a_known_similarity(angles, scale, shift, seed):
    rng = np.random.default_rng(seed)
    template = rng.standard_normal((12, 3))
    matrix = rotation_matrix(np.array(angles))
    points = scale * template @ matrix + np.array(shift)
    found_scale, found_matrix, found_shift = align(points[None], template, rng.uniform(0.1, 1, 12))
    assert found_scale[0] == pytest.approx(scale, rel=1e-6)
    assert np.allclose(found_matrix[0], matrix, atol=1e-6)
    assert np.allclose(found_shift[0], shift, atol=1e-5 * max(1, scale))


def test_align_never_mirrors():
    template = np.random.default_rng(0).standard_normal((12, 3))
    matrix = align((template * (-1, 1, 1))[None], template, np.ones(12))[1][0]
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_points_without_weight_do_not_count():
    rng = np.random.default_rng(0)
    template = rng.standard_normal((12, 3))
    points = 2 * template + 1
    points[3] += 50
    weights = np.ones(12)
    weights[3] = 0
    scale, matrix, shift = align(points[None], template, weights)
    assert scale[0] == pytest.approx(2)
    assert np.allclose(matrix, np.eye(3))
    assert np.allclose(shift, 1)


def test_align_is_the_best_similarity():
    rng = np.random.default_rng(1)
    template, weights = rng.standard_normal((12, 3)), rng.uniform(0.2, 1, 12)
    points = 1.3 * template @ rotation_matrix(np.array([10.0, -5, 3])) + 0.1 * rng.standard_normal((12, 3))

    def error(scale, matrix, shift):
        return float(weights @ ((scale * template @ matrix + shift - points) ** 2).sum(1))

    scale, matrix, shift = (part[0] for part in align(points[None], template, weights))
    best = error(scale, matrix, shift)
    for _ in range(200):
        nearby = rotation_matrix(rotation_angles(matrix) + rng.normal(0, 0.5, 3))
        assert error(scale * (1 + rng.normal(0, 0.01)), nearby, shift + rng.normal(0, 0.01, 3)) >= best


def test_smoothstep_is_flat_at_both_ends():
    assert np.allclose(smoothstep(np.array([-1, 0, 0.25, 0.5, 1, 7])), [0, 0, 0.15625, 0.5, 1, 1])
    assert smoothstep(np.float32([0.001, 0.999])) == pytest.approx([0, 1], abs=1e-5)
    assert smoothstep(np.float32([0.3])).dtype == np.float32
