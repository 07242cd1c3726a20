"""CPBD: the reference's edges, widths and scores, and a score that falls as pictures blur."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from measuring import measure

from kptalk.evaluate.metric import EVERY
from kptalk.evaluate.metrics.cpbd import CpbdMetric, canny_edges, cpbd, edge_widths, sobel_edges


@pytest.mark.parametrize("number", range(3))
def test_reference_pictures(parity, number):
    fixture = np.load(parity / "fixtures/cpbd.npz")
    grey = fixture[f"gray_{number}"]
    assert np.array_equal(np.packbits(sobel_edges(grey)), fixture[f"sobel_edges_{number}"])
    # NumPy 2 rounds np.hypot in another way, on which ties of scikit-image's Canny depend; they decide over no block.
    canny, reference = canny_edges(grey), np.unpackbits(fixture[f"canny_edges_{number}"]).reshape(grey.shape)
    assert np.count_nonzero(canny != reference) < 0.005 * np.count_nonzero(reference)
    assert np.array_equal(np.bincount(edge_widths(grey).ravel(), minlength=64), fixture[f"width_hist_{number}"])
    assert cpbd(grey) == pytest.approx(float(fixture[f"cpbd_{number}"]), abs=1e-6)


def walked(row, column, sign):
    """Width of one edge by walking along its row, as the reference does: up to 101 pixels to either side."""
    width = 0
    for way in (-1, 1):
        reach, at = 1, column + way
        while 0 <= at + way < len(row) and sign * way * (row[at + way] - row[at]) > 0 and reach < 101:
            reach, at = reach + 1, at + way
        width += reach
    return width


@given(arrays(np.uint8, st.tuples(st.integers(3, 9), st.sampled_from((3, 8, 240))), elements=st.integers(0, 255)))
def test_widths_are_those_of_a_walk(grey):
    grey[0] = np.arange(grey.shape[1])  # also a long way that only rises
    image, widths, edges = grey.astype(float), edge_widths(grey), sobel_edges(grey)
    down, right = np.gradient(image)
    angles = np.degrees(np.arctan2(down, right))
    for y, x in np.ndindex(grey.shape):
        inside = 0 < y < grey.shape[0] - 1 and 0 < x < grey.shape[1] - 1
        if inside and edges[y, x] and (abs(angles[y, x]) < 22.5 or right[y, x] == 0):
            assert widths[y, x] == walked(image[y], x, 1)
        elif inside and edges[y, x] and abs(angles[y, x]) > 157.5:
            assert widths[y, x] == walked(image[y], x, -1)
        else:
            assert widths[y, x] == 0


def test_an_edge_reaches_no_further_than_101_pixels_to_a_side():
    ramp = np.repeat(np.r_[:120, 127, 135:255][None].astype(np.uint8), 5, 0)
    assert edge_widths(ramp)[2].max() == 202


def test_a_blank_picture_has_no_sharp_edge_and_a_tiny_one_no_score():
    assert cpbd(np.full((128, 128), 90, np.uint8)) == 0
    assert np.isnan(cpbd(np.full((40, 128), 90, np.uint8)))


def test_blur_lowers_the_score_in_order(seen):
    samples, _ = seen("grid_mlbax_1")

    def blurred(sigma):
        clip = samples[: 2 * EVERY + 1]
        return [replace(s, image=cv2.GaussianBlur(s.image, (0, 0), sigma)) for s in clip] if sigma else clip

    scores = [measure(CpbdMetric(), blurred(sigma), samples)["cpbd"] for sigma in (0, 0.7, 1.2, 2.5)]
    assert np.all(np.diff(scores) < -0.01)


def test_only_every_fifth_frame_counts(seen):
    samples, _ = seen("grid_mlbax_1")
    blank = [replace(s, image=np.zeros_like(s.image)) if k % EVERY else s for k, s in enumerate(samples[:12])]
    assert measure(CpbdMetric(), blank, samples) == measure(CpbdMetric(), samples[:12], samples)
