"""PSNR and SSIM: how near each generated frame is to the real one of the same moment (self-reenactment).

    PSNR = 10 log10(255^2 / MSE) dB, MSE over the pixels and the three RGB channels of one frame
    SSIM = mean of (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)) over the picture

SSIM as in Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004: luminance, Gaussian window of sigma 1.5 pixels,
C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2. Both are means over frames, of the whole frame.
A generated frame of another size is resized to the real one's first: the numbers then hold the resizing's loss too.
"""

import cv2
import numpy as np

from kptalk.evaluate.metric import EVERY, AudioPair, FrameSample, Metric, mean_or_nan, require_extra, specs
from kptalk.types import Image

WINDOW = 11  # pixels a side, of SSIM
CAP = 100.0  # dB; equal frames would have infinitely many, and one of them would make a clip's mean infinite


def psnr(generated: Image, real: Image) -> float:
    """Peak signal-to-noise ratio in dB of two pictures (H, W, 3) uint8, at most 100, which equal pictures have."""
    error = np.mean(np.square(generated.astype(np.float32) - real.astype(np.float32)), dtype=np.float64)
    return float(min(CAP, 10 * np.log10(255**2 / error))) if error else CAP


def ssim(generated: Image, real: Image) -> float:
    """Structural similarity of two pictures' luminance, (H, W, 3) uint8; 1 if equal, NaN if smaller than the window.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    if min(real.shape[:2]) < WINDOW:
        return float("nan")
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (generated, real))
    as_published = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(require_extra("skimage.metrics", "SSIM").structural_similarity(x, y, **as_published))


def resized(image: Image, like: Image) -> Image:
    """A picture (H, W, 3) uint8 in the size of another one."""
    height, width = like.shape[:2]
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.size > like.size
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


class FidelityMetric(Metric):
    """PSNR and SSIM against the real frames; SSIM, which costs ten times as much, only at every fifth one."""

    requires = ("skimage.metrics", "SSIM")
    columns = specs("psnr", "ssim")

    def reset(self) -> None:
        self._psnr: list[float] = []
        self._ssim: list[float] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        image = resized(generated.image, real.image)
        if len(self._psnr) % EVERY == 0:
            self._ssim.append(ssim(image, real.image))
        self._psnr.append(psnr(image, real.image))

    def compute(self, audio: AudioPair) -> dict[str, float]:
        return {"psnr": mean_or_nan(self._psnr), "ssim": mean_or_nan(self._ssim)}
