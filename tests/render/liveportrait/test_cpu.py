"""The fast networks give what the faithful ones give."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from kptalk import render
from kptalk.networks.blocks import ConvBlock
from kptalk.networks.spade import SpadeDecoder, SpadeDecoderConfig
from kptalk.networks.warping import WarpingNetwork, WarpingNetworkConfig
from kptalk.render.liveportrait import networks
from kptalk.render.liveportrait.cpu import phases
from kptalk.render.liveportrait.cpu.convolution import WinogradConv, folded
from kptalk.render.liveportrait.cpu.decoder import FastDecoder
from kptalk.render.liveportrait.cpu.warping import FastWarping, sample
from kptalk.render.liveportrait.networks import fast_networks, native_bfloat16
from kptalk.render.liveportrait.renderer import to_frames

LAST = torch.channels_last


def trained(network):
    """Norms as training leaves them."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def psnr(a, b):
    return -10 * torch.log10(((a.float() - b.float()) ** 2).mean()).item()


@given(st.sampled_from([1, 2, 4]), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_two_convolutions_of_an_enlarged_map_equal_their_phases(scale, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cells = 5
    small, first, second = normal(1, 2, cells, cells), normal(3, 2, 3, 3), normal(4, 3, 3, 3)
    bias = normal(3)
    hidden = F.conv2d(F.interpolate(small, scale_factor=scale), first, bias, padding=1).relu()
    expected = F.conv2d(hidden, second, padding=1)
    samples = phases.FILTERED[scale]
    step = max(samples) + 1
    stored = torch.zeros(1, 3, cells * step + 2, cells * step + 2, dtype=torch.float64)
    columns = phases.shifted(F.pad(small, (1, 1, 1, 1)), 2)
    for row, column in product(range(scale), repeat=2):
        one = phases.phase(first, row, column, phases.REPEATED[scale])
        part = phases.convolve(columns, one, bias, 1, cells).relu()
        torch.testing.assert_close(part, hidden[:, :, row::scale, column::scale])
        stored[:, :, 1 + samples[row] : -1 : step, 1 + samples[column] : -1 : step] = part
    columns = phases.shifted(stored, 3)
    for row, column in product(range(scale), repeat=2):
        one = phases.phase(second, row, column, samples)
        part = phases.convolve(columns, one, normal(4) * 0, step, cells)
        torch.testing.assert_close(part, expected[:, :, row::scale, column::scale])
        assert one.kernel.shape[2:] == (3, 3) or scale == 4


@pytest.mark.parametrize(("shape", "convolve"), [((), F.conv2d), ((4,), F.conv3d)])
@pytest.mark.parametrize("height", [2, 4, 10])
def test_winograd_equals_the_convolution(shape, convolve, height):
    taps = [3] * (len(shape) + 2)
    x = torch.randn(1, 3, *shape, height, 5, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, *taps, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last_3d if shape else LAST)
    torch.testing.assert_close(WinogradConv(weight, bias, torch.float64)(x), convolve(x, weight, bias, padding=1))


@pytest.mark.parametrize("dims", [2, 3])
@torch.inference_mode()
def test_folded_normalisation_is_the_same(dims):
    block = trained(ConvBlock(3, 5, dims, slope=0.1))
    x = torch.randn(1, 3, *[6] * dims)
    convolve = F.conv2d if dims == 2 else F.conv3d
    found = F.leaky_relu(convolve(x, *folded(block.conv, block.norm), padding=1), 0.1)
    torch.testing.assert_close(found, block(x), atol=1e-5, rtol=1e-5)


def test_samples_equal_grid_sample():
    torch.manual_seed(0)
    volume, places = torch.randn(3, 4, 6, 5), torch.rand(2, 7, 8, 3) * 3 - 1.5  # also outside
    expected = F.grid_sample(volume[None], places[None], align_corners=False)[0]
    found = sample(volume, places).unflatten(1, (2, 3))[0].transpose(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def small():
    """Two small networks, and what they take: appearance, driving and source keypoints; features."""
    torch.manual_seed(0)
    config = WarpingNetworkConfig(
        keypoints=5, volume_channels=3, volume_depth=6, compressed=2, width=4, max_width=16, blocks=3, outputs_2d=6
    )
    warping = trained(WarpingNetwork(config))
    decoder = SpadeDecoder(SpadeDecoderConfig(features=6, widths=(10, 8, 4), middle_blocks=2, hidden=5)).eval()
    inputs = torch.randn(2, 3, 6, 16, 16), torch.rand(2, 5, 3) * 2 - 1, torch.rand(2, 5, 3) * 2 - 1
    return warping, decoder, inputs, torch.randn(2, 6, 8, 8)


@torch.inference_mode()
def test_small_networks_are_the_same(small):
    warping, decoder, inputs, features = small
    found = FastWarping(warping, torch.float32)(*inputs)
    torch.testing.assert_close(found, warping(*inputs), atol=1e-4, rtol=1e-4)
    found = FastDecoder(decoder, torch.float32)(features)
    torch.testing.assert_close(found, decoder(features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("native", [True, False])
@torch.inference_mode()
def test_float32_is_float32_on_any_processor(small, monkeypatch, native):
    monkeypatch.setattr(networks, "native_bfloat16", lambda: native)
    warping, decoder, inputs, _ = small

    def frames(warp, decode):
        features = warp(*inputs)
        return features.dtype, to_frames(decode(features))

    plain = frames(FastWarping(warping, torch.float32), FastDecoder(decoder, torch.float32))
    dtype, found = frames(*fast_networks(warping, decoder, precision="float32"))
    assert dtype == torch.float32
    np.testing.assert_array_equal(found, plain[1])
    assert frames(*fast_networks(warping, decoder))[0] == (torch.bfloat16 if native else torch.float32)


def test_only_the_choice_of_networks_knows_the_rewritten_ones():
    source = Path(render.__file__).parents[1]
    users = [path for path in source.rglob("*.py") if "liveportrait.cpu" in path.read_text()]
    cpu = source / "render/liveportrait/cpu"
    assert [path for path in users if cpu not in path.parents] == [source / "render/liveportrait/networks.py"]


def test_whole_networks_are_the_same_in_float32(reference, warping, decoder, volume, warped, decoded):
    stored = reference("lp_warping_module")
    found = FastWarping(warping, torch.float32)(volume, stored["kp_driving"], stored["kp_source"])
    torch.testing.assert_close(found, warped, atol=2.1e-4, rtol=1e-5)
    torch.testing.assert_close(FastDecoder(decoder, torch.float32)(warped), decoded, atol=5e-5, rtol=0)


def test_bfloat16_is_close(reference, warping, decoder, volume, decoded):
    if not native_bfloat16():
        pytest.skip("this processor has no bfloat16 instructions")
    stored = reference("lp_warping_module")
    warp, decode = fast_networks(warping, decoder)
    found = decode(warp(volume, stored["kp_driving"], stored["kp_source"]))
    assert (found.shape, found.dtype) == ((1, 3, 512, 512), torch.float32)
    assert psnr(found, decoded) >= 45
