"""Dense motion and warping: intermediate arrays and output of the reference."""

import pytest
import torch

from kptalk.networks.dense_motion import candidate_inputs, candidate_motions, coordinate_grid, gaussians

SIZE = (16, 64, 64)


@pytest.fixture(scope="module")
def stored(reference):
    return reference("lp_warping_module")


@pytest.fixture(scope="module")
def motion(stored, warping, volume):
    with torch.inference_mode():
        return warping.dense_motion_network(volume, stored["kp_driving"], stored["kp_source"])


@torch.inference_mode()
def test_candidates_equal_the_reference(stored, warping, volume):
    driving, source = stored["kp_driving"], stored["kp_source"]
    compressed = warping.dense_motion_network.compressed(volume)
    stored.check("compressed_feature", compressed, 1e-5)
    motions = candidate_motions(driving, source, SIZE)
    stored.check("sparse_motion", motions, 1e-6)
    inputs = candidate_inputs(compressed, motions, driving, source).unflatten(1, (22, 5))
    stored.check("heatmap", inputs[:, :, :1], 1e-6)
    stored.check("deformed_feature", inputs[:, :, 1:], 2e-5)


def test_dense_motion_equals_the_reference(stored, motion):
    stored.check("mask", motion.mask, 2.4e-5)
    stored.check("deformation", motion.deformation, 2.4e-5)
    stored.check("occlusion_map", motion.occlusion, 6.2e-6)


def test_equals_the_reference(stored, warped):
    stored.check("out", warped, 2.1e-4)


def test_without_motion_every_candidate_is_the_identity():
    keypoints = torch.rand(1, 21, 3) - 0.5
    motions = candidate_motions(keypoints, keypoints, (4, 8, 8))
    grid = coordinate_grid((4, 8, 8), keypoints)
    assert torch.equal(motions, grid.expand(1, 22, -1, -1, -1, -1))


def test_a_candidate_looks_where_the_keypoint_came_from():
    source, driving = torch.zeros(1, 21, 3), torch.zeros(1, 21, 3)
    driving[0, 4] = torch.tensor([0.5, 0.25, 0])  # to the right and down
    motions = candidate_motions(driving, source, (3, 5, 5))
    centre = motions[0, :, 1, 2, 2]
    assert centre[0].tolist() == [0, 0, 0]
    assert centre[5].tolist() == [-0.5, -0.25, 0]


def test_gaussians_peak_at_their_keypoints():
    keypoints = torch.tensor([[[0.5, -1.0, 0.0]]])
    found = gaussians(keypoints, (3, 5, 5))[0, 0]
    assert found[1, 0, 3] == 1
    assert found.argmax() == 1 * 25 + 3
