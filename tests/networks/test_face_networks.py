"""MediaPipe's networks: sizes, groups that keep apart, windows of any face. The numbers are tested in tests/face."""

import pytest
import torch

from kptalk.networks.face_detector import FullRangeDetector, ShortRangeDetector, anchors
from kptalk.networks.face_landmarks import CORNERS, N_MESH, PARTS, REGIONS, FaceLandmarkNetwork
from kptalk.networks.selfie import SelfieSegmentation
from kptalk.networks.separable import SeparableBlock

SIZES = {
    ShortRangeDetector: 101_390,
    FullRangeDetector: 508_308,
    FaceLandmarkNetwork: 1_189_277,
    SelfieSegmentation: 106_401,
}


@pytest.mark.parametrize("network_class", SIZES)
def test_parameters_are_those_of_the_files(network_class):
    assert sum(p.numel() for p in network_class().parameters()) == SIZES[network_class]


@pytest.mark.parametrize("network_class", [ShortRangeDetector, FullRangeDetector])
@torch.inference_mode()
def test_detectors_give_a_row_for_every_anchor(network_class):
    numbers, logits = network_class()(torch.zeros(2, 3, network_class.side, network_class.side))
    places = anchors(network_class.cells)
    assert numbers.shape == (2, len(places), 16)
    assert logits.shape == (2, len(places))
    assert places.min() > 0
    assert places.max() < 1


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 6, 1), (4, 4, 2), (4, 7, 2)])
@torch.inference_mode()
def test_groups_are_blocks_side_by_side(inputs, outputs, stride):
    torch.manual_seed(0)
    joined = SeparableBlock(inputs, outputs, stride, groups=3)
    x = torch.randn(2, 3 * inputs, 8, 8)
    alone = []
    for k, part in enumerate(x.chunk(3, 1)):
        block = SeparableBlock(inputs, outputs, stride)
        block.load_state_dict({name: value.chunk(3)[k] for name, value in joined.state_dict().items()})
        alone.append(block(part))
    assert torch.allclose(joined(x), torch.cat(alone, 1), atol=1e-6)


@torch.inference_mode()
def test_a_larger_block_adds_the_input_to_its_first_outputs():
    block = SeparableBlock(2, 5, prelu=False)
    for parameter in block.parameters():
        parameter.zero_()
    x = torch.rand(1, 2, 4, 4)
    assert torch.equal(block(x), torch.cat([x, torch.zeros(1, 3, 4, 4)], 1))


@torch.inference_mode()
def test_windows_lie_level_with_their_corners():
    mesh = torch.rand(1, N_MESH, 2) * 10 + 20
    windows = FaceLandmarkNetwork()._windows(mesh)
    for window, points, (left, right) in zip(windows[0], REGIONS, CORNERS, strict=True):
        inverse = torch.linalg.inv(window[:, :2])
        inside = (mesh[0, list(points)] - window[:, 2]) @ inverse.T
        low, high = inside.amin(0), inside.amax(0)
        assert torch.allclose((low + high) / 2, torch.tensor(8.0), atol=1e-3)
        assert torch.allclose(high - low, torch.tensor(16 / 1.5), atol=1e-3)
        along = inverse @ (mesh[0, right] - mesh[0, left])
        assert along[0] > 0
        assert abs(along[1]) < 1e-3


@torch.inference_mode()
def test_a_face_that_is_one_point_gives_no_nan():
    network = FaceLandmarkNetwork()
    assert network._windows(torch.full((1, N_MESH, 2), 3.0)).isfinite().all()
    for parameter in network.parameters():
        parameter.zero_()
    landmarks, logits = network(torch.rand(2, 3, 192, 192))
    assert landmarks.shape == (2, 478, 3)
    assert logits.shape == (2,)
    assert landmarks.isfinite().all()


def test_every_landmark_comes_from_one_place():
    placed = [point for _, part in PARTS for point in part]
    assert len(set(placed)) == len(placed)
