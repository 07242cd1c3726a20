"""CSIM: faces are aligned to ArcFace's points, and another face lowers the number in order.

The network of these tests is a few bytes of ONNX that averages the aligned face's pixels in cells: no face recognition,
but enough to tell two people's pictures apart.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measuring import measure

from kptalk.errors import WeightsError
from kptalk.evaluate.metric import EVERY, FrameSample
from kptalk.evaluate.metrics.csim import FIVE_POINTS, TEMPLATE, CsimMetric, aligned_face, similarity

CLIP, OTHER = "grid_mlbax_1", "grid_flbbc_1"


def field(number, value):
    """One field of a protocol buffer: an int, a text, or a message given as bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def onnx_bytes(cell=14, side=112):
    """AveragePool of ``cell`` pixels, then Flatten: (N, 3, side, side) to (N, D); numbers are those of onnx.proto."""

    def node(kind, source, target, attributes=b""):
        return field(1, source) + field(2, target) + field(4, kind) + attributes

    def ints(name, values):
        return field(5, field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7))

    def port(name, *shape):
        dims = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    pool = node("AveragePool", "x", "y", ints("kernel_shape", [cell, cell]) + ints("strides", [cell, cell]))
    size = 3 * (side // cell) ** 2
    graph = field(1, pool) + field(1, node("Flatten", "y", "z")) + field(2, "cells")
    graph += field(11, port("x", "n", 3, side, side)) + field(12, port("z", "n", size))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    path = tmp_path_factory.mktemp("csim") / "cells.onnx"
    path.write_bytes(onnx_bytes())
    return CsimMetric(path)


@given(st.floats(0.1, 5), st.floats(-3, 3), st.floats(-200, 200), st.floats(-200, 200))
def test_a_similarity_is_found_again(scale, angle, x, y):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (TEMPLATE - (x, y)) @ np.linalg.inv(turn).T
    assert similarity(points, TEMPLATE) == pytest.approx(np.column_stack([turn, (x, y)]), abs=1e-6)


def test_the_five_points_come_to_lie_on_the_template(seen):
    for clip in (CLIP, OTHER):
        samples, _ = seen(clip)
        image, mesh = samples[0].image, samples[0].mesh
        matrix = similarity(mesh[FIVE_POINTS, :2].astype(float), TEMPLATE)
        found = mesh[FIVE_POINTS, :2] @ matrix[:, :2].T + matrix[:, 2]
        assert np.linalg.norm(found - TEMPLATE, axis=1).max() < 8
        # A red dot on each eye of the picture is where the template has the eyes.
        marked = image.copy()
        for u, v in mesh[FIVE_POINTS[:2], :2].round().astype(int):
            marked[v - 3 : v + 4, u - 3 : u + 4] = (255, 0, 0)
        face = aligned_face(marked, mesh)
        assert face.shape == (112, 112, 3)
        for u, v in TEMPLATE[:2].round().astype(int):
            assert np.ptp(face[v, u].astype(int)) > 150


def test_the_network_gets_rgb_from_minus_one_to_one(metric, seen):
    samples, _ = seen(CLIP)
    orange = FrameSample(np.full((256, 256, 3), (255, 150, 0), np.uint8), samples[0].mesh)
    colours = metric.embedding(orange).reshape(3, 8, 8)[:, 4, 4]
    assert colours / colours[0] == pytest.approx([1, 22.5 / 127.5, -1], abs=1e-4)


def test_the_source_itself_is_at_one(metric, seen):
    samples, _ = seen(CLIP)
    assert measure(metric, [samples[0]] * 6, samples)["csim"] == pytest.approx(1)
    assert 0.5 < measure(metric, samples, samples)["csim"] < 1


def test_another_face_lowers_it_in_order(metric, seen):
    samples, _ = seen(CLIP)
    others, _ = seen(OTHER)

    def becoming(frame):
        return samples[:frame] + others[frame:]

    numbers = [measure(metric, becoming(frame), samples)["csim"] for frame in (75, 50, 25, 0)]
    assert np.all(np.diff(numbers) < -0.01)


def test_a_face_mixed_with_another_one_lowers_it_in_order(metric, seen):
    portrait, stranger = seen(CLIP)[0][0], seen(OTHER)[0][0]
    mixtures = [
        replace(portrait, image=(portrait.image * (1 - share) + stranger.image * share).astype(np.uint8))
        for share in (0, 0.3, 0.6, 1)
    ]
    numbers = [measure(metric, [mixture], [portrait])["csim"] for mixture in mixtures]
    assert np.all(np.diff(numbers) < -0.01)


def test_faceless_frames_do_not_count_and_no_face_is_no_number(metric, seen):
    samples, _ = seen(CLIP)
    blind = [replace(sample, mesh=None) for sample in samples]
    half = [b if k >= 2 * EVERY else s for k, (s, b) in enumerate(zip(samples, blind, strict=True))]
    assert measure(metric, half, samples) == pytest.approx(measure(metric, samples[: 2 * EVERY], samples))
    assert np.isnan(measure(metric, blind, samples)["csim"])
    assert np.isnan(measure(metric, samples, blind)["csim"])
    # The source is the first real frame with a face.
    late = blind[:3] + samples[3:4] + blind[4:]
    assert measure(metric, [samples[3]] * 6, late)["csim"] == pytest.approx(1)


def test_an_absent_file_is_said(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        CsimMetric(tmp_path / "absent.onnx")


def test_other_files_and_other_networks_are_one_line(tmp_path):
    junk, other = tmp_path / "junk.onnx", tmp_path / "other.onnx"
    junk.write_bytes(b"this is no network")
    other.write_bytes(onnx_bytes(side=224))
    for path, message in ((junk, "as an ONNX model"), (other, "needs one input")):
        with pytest.raises(WeightsError, match=message) as caught:
            CsimMetric(path)
        assert "\n" not in str(caught.value)


def test_the_network_is_on_record(metric):
    assert len(metric.weights["arcface"]) == 64
