"""CPBD: sharpness of single pictures, 0 (all edges look blurred) to 1 (none does).

Narvekar and Karam, "A No-Reference Image Blur Metric Based on the Cumulative Probability of Blur Detection (CPBD)",
IEEE TIP 20(9), 2011. An edge of width w in a block whose just noticeable blur is w_JNB is seen as blurred with

    P_blur = 1 - exp(-(w / w_JNB)^3.6),    CPBD = share of the edges with P_blur <= P_JNB = 63 %.

The numbers are those of the Python package cpbd 1.0.7, which papers of this field use, with its own edge detectors:
it compares squared Sobel strengths with twice their root mean square, and gives Canny thresholds for pictures of 0 to 1
a picture of 0 to 255, so nearly every ridge of the gradient is an edge.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve

from kptalk.evaluate.metric import EVERY, AudioPair, FrameSample, Metric, mean_or_nan, require_extra, specs
from kptalk.types import Image

Bools = NDArray[np.bool_]

BLOCK = 64  # pixels a side; what is left over at the right and below does not count
MIN_EDGES = 0.002 * BLOCK**2  # a block with no more Canny edge pixels than this is smooth, and not looked at
LOW_CONTRAST = 50  # grey levels between a block's darkest and brightest pixel
JNB_LOW, JNB_HIGH = 5, 3  # pixels: just noticeable width up to that contrast, and above it
BETA = 3.6
PERCENT_JNB = 63
MAX_REACH = 101  # pixels an edge may reach to either side


def cpbd(grey: Image) -> float:
    """Sharpness of one picture (H, W) uint8; 0 where it has no edges, NaN where it is smaller than a block.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    if min(grey.shape) < BLOCK:
        return float("nan")
    widths, canny = edge_widths(grey), canny_edges(grey)
    percents = []
    for y in range(0, grey.shape[0] - BLOCK + 1, BLOCK):
        for x in range(0, grey.shape[1] - BLOCK + 1, BLOCK):
            block = slice(y, y + BLOCK), slice(x, x + BLOCK)
            if np.count_nonzero(canny[block]) > MIN_EDGES:
                noticeable = JNB_LOW if np.ptp(grey[block]) <= LOW_CONTRAST else JNB_HIGH
                wide = widths[block][widths[block] > 0]
                percents.append(np.rint(100 * (1 - np.exp(-((wide / noticeable) ** BETA)))))
    found = np.concatenate([*percents, []])
    return float((found <= PERCENT_JNB).mean()) if len(found) else 0.0


def canny_edges(grey: Image) -> Bools:
    """Edges that tell which blocks count, (H, W) bool from (H, W) uint8."""
    return np.asarray(require_extra("skimage.feature", "CPBD").canny(grey.astype(np.float64)))


def sobel_edges(grey: Image) -> Bools:
    """Upright edges, whose widths are measured: ridges of the squared horizontal Sobel strength, (H, W) bool."""
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    strength = convolve(grey.astype(np.float64), kernel) ** 2
    strength[strength <= 2 * np.sqrt(strength.mean())] = 0
    around = np.pad(strength, 1)
    across = (strength > around[1:-1, :-2]) & (strength > around[1:-1, 2:])
    down = (strength > around[:-2, 1:-1]) & (strength > around[2:, 1:-1])
    return np.asarray(across | down)


def edge_widths(grey: Image) -> NDArray[np.int64]:
    """Width in pixels of every upright edge, (H, W); 0 elsewhere (Marziliano et al., ICIP 2002).

    Along the row, an edge reaches to the nearest turn of the brightness on either side. Edges whose gradient is more
    than 22.5 degrees off the row have no width, but for exactly vertical gradients, which count as rising to the right.
    """
    image = grey.astype(np.float64)
    gradient_y, gradient_x = np.gradient(image)
    edges = sobel_edges(grey)
    edges[[0, -1]] = edges[:, [0, -1]] = False
    level = np.abs(gradient_y) < np.tan(np.pi / 8) * np.abs(gradient_x)
    step = np.diff(image, axis=1)
    rises, falls = level & (gradient_x > 0) | (gradient_x == 0), level & (gradient_x < 0)
    return np.where(edges & rises, _reach(step > 0), np.where(edges & falls, _reach(step < 0), 0))


def _reach(goes: Bools) -> NDArray[np.int64]:
    """Width of an edge at each pixel (H, W) if brightness ``goes`` (H, W - 1) its way from each pixel to the next."""
    height, steps = goes.shape
    index = np.arange(steps)
    # For each step: how many in a row go this way, counted from it to the left, and to the right.
    left = index - np.maximum.accumulate(np.where(goes, -1, index), axis=1)
    ends = np.where(goes, steps, index)[:, ::-1]
    right = np.minimum.accumulate(ends, axis=1)[:, ::-1] - index
    # The two steps that touch the pixel itself count without being looked at.
    reach = np.zeros((height, steps + 1), np.int64)
    reach[:, 1:-1] = 2
    reach[:, 2:] += np.minimum(left[:, :-1], MAX_REACH - 1)
    reach[:, :-2] += np.minimum(right[:, 1:], MAX_REACH - 1)
    return reach


class CpbdMetric(Metric):
    """CPBD of the generated frames' luminance, whole frames as the papers take them.

    Only every fifth frame is measured: sharpness hardly changes within 0.2 s.
    """

    requires = ("skimage.feature", "CPBD")
    columns = specs("cpbd")

    def reset(self) -> None:
        self._frames = 0
        self._scores: list[float] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        if self._frames % EVERY == 0:
            self._scores.append(cpbd(cv2.cvtColor(generated.image, cv2.COLOR_RGB2GRAY)))
        self._frames += 1

    def compute(self, audio: AudioPair) -> dict[str, float]:
        return {"cpbd": mean_or_nan(self._scores)}
