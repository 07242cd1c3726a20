"""He, Sun and Tang, "Guided image filtering", 2013: smooths a map so that its edges follow those of a picture."""

import cv2
import numpy as np

from kptalk.types import Array, Image


def guided_filter(guide: Image, values: Array, radius: int, epsilon: float) -> Array:
    """What ``cv2.ximgproc.guidedFilter`` of OpenCV's contributed modules does with a guide of three colours.

    In every window the values are fitted by a linear function of the colours; every pixel gets the mean of the
    functions of the windows that it lies in.

    Args:
        guide: (H, W, 3) uint8.
        values: (H, W) float32.
        radius: of the square windows, 2 * radius + 1 pixels wide; the picture is mirrored at its edges.
        epsilon: the variance of colours, 0 to 255 squared, below which a window counts as flat.

    Returns:
        (H, W) float32.
    """
    colours = guide.astype(np.float32)
    rows, columns = np.triu_indices(3)
    mean, mean_values = _mean(colours, radius), _mean(values, radius)
    products = _mean(colours[..., rows] * colours[..., columns], radius) - mean[..., rows] * mean[..., columns]
    covariance = np.empty((*values.shape, 3, 3), np.float32)
    covariance[..., rows, columns] = covariance[..., columns, rows] = products
    covariance += epsilon * np.eye(3, dtype=np.float32)
    shared = _mean(colours * values[..., None], radius) - mean * mean_values[..., None]
    slope = np.asarray(np.linalg.solve(covariance, shared[..., None])[..., 0], np.float32)
    offset = mean_values - (slope * mean).sum(-1)
    return np.asarray((_mean(slope, radius) * colours).sum(-1) + _mean(offset, radius), np.float32)


def _mean(values: Array, radius: int) -> Array:
    """The mean of the windows about every pixel, (H, W) or (H, W, C)."""
    side = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.boxFilter(values, cv2.CV_32F, side, borderType=cv2.BORDER_REFLECT), np.float32)
