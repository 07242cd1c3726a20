"""An imperceptible watermark in the luma of a video's frames.

A pattern of 128 x 128 values, periodic over the frame and the same in all frames, is added to the luma, stronger where
the picture has texture that hides it. Its spectrum is a ring of middle frequencies, which survive compression and
scaling; there, random phases that are always the same (to be found by) and others whose signs are the payload. After
T. Kalker, G. Depovere, J. Haitsma, M. Maes, "A video watermarking system for broadcast monitoring", SPIE 3657, 1999
(one periodic pattern in all frames, found by correlation over all shifts), and F. Hartung, B. Girod, "Watermarking of
uncompressed and compressed video", Signal Processing 66, 1998 (the payload as spread spectrum).

The pattern is no secret: it says where a video comes from if nobody objects, and proves nothing against who does.
"""

from functools import cache
from hashlib import shake_256
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.media.watermark_code import CODED, Payload, encode

PERIOD = 128  # pixels of a picture whose longer side is CANONICAL, or less
CANONICAL = 512  # pixels; in larger pictures the pattern grows with them
BAND = (0.06, 0.20)  # cycles a pixel
SYNC = 0.35  # share of the spectrum's coefficients that are always the same
# Grey levels of the pattern, standard deviation: in flat areas, per grey level of the texture around, and at most.
FLAT, TEXTURE, TOP = 0.9, 1.0, 2.5
# Texture is what differs from the mean of a square of 10 pixels: finer than shading, and as fine as the pattern. Pixels
# of the canonical picture for one of the picture where it is measured, and for one of the map.
FINE, COARSE, SQUARE, AROUND = 2, 8, (5, 5), (3, 3)
# In a frame as a whole, of the luma's levels, by its longer side: small frames have less room to say as much.
RMS_SMALL, RMS_LARGE, SMALL = 1.65, 1.15, 256


class Carrier(NamedTuple):
    """The pattern's spectrum, as indices of the flat (PERIOD * PERIOD,) transform and their phases."""

    sync: NDArray[np.int64]
    payload: NDArray[np.int64]
    phase: NDArray[np.complex128]  # of all coefficients, as unit numbers
    bit: NDArray[np.int64]  # which coded bit is sent in the real and imaginary part of each payload coefficient


@cache
def carrier() -> Carrier:
    """What the marker and the reader share; made of a hash, so that it is the same everywhere and for ever."""
    size = PERIOD * PERIOD
    draws = np.frombuffer(shake_256(b"kptalk watermark 1").digest(8 * 3 * size), "<u8").reshape(3, size)
    down, right = np.meshgrid(*2 * [np.fft.fftfreq(PERIOD)], indexing="ij")
    radius = np.hypot(down, right).ravel()
    half = ((down > 0) | ((down == 0) & (right > 0))).ravel()  # the other half of a real pattern's follows
    used = np.flatnonzero((radius >= BAND[0]) & (radius <= BAND[1]) & half)
    used = used[np.argsort(draws[0, used], kind="stable")]
    sync, payload = np.split(used, [round(SYNC * len(used))])
    slots = np.argsort(draws[1, : 2 * len(payload)], kind="stable") % CODED
    return Carrier(sync, payload, np.exp(2j * np.pi * (draws[2] / 2.0**64)), slots)


def tile(payload: Payload) -> Any:
    """One period of the pattern, (PERIOD, PERIOD) float32, of standard deviation 1."""
    known, signs = carrier(), encode(payload.to_int())
    spectrum = np.zeros(PERIOD * PERIOD, complex)
    spectrum[known.sync] = known.phase[known.sync]
    sent = signs[known.bit]
    spectrum[known.payload] = known.phase[known.payload] * (sent[0::2] + 1j * sent[1::2]) / np.sqrt(2)
    values = np.fft.ifft2(spectrum.reshape(PERIOD, PERIOD)).real
    return (values / values.std()).astype(np.float32)


class Marker:
    """Puts a watermark into frames of one size."""

    def __init__(self, payload: Payload, size: tuple[int, int]) -> None:
        """Draw the pattern; ``size`` is width and height of the luma in pixels."""
        width, height = size
        scale = max(1.0, max(size) / CANONICAL)
        across, down = (-(-round(side / scale) // PERIOD) for side in size)
        pattern = np.tile(tile(payload), (down + 1, across + 1))
        if scale > 1:
            grown = (round(pattern.shape[1] * scale), round(pattern.shape[0] * scale))
            pattern = cv2.resize(pattern, grown, interpolation=cv2.INTER_CUBIC)
        self._pattern: Any = np.ascontiguousarray(pattern[:height, :width])
        self._fine, self._coarse = (
            (max(1, round(width / scale / step)), max(1, round(height / scale / step))) for step in (FINE, COARSE)
        )
        room = min(1.0, max(0.0, (max(size) - SMALL) / (CANONICAL - SMALL)))
        self._rms = RMS_SMALL + room * (RMS_LARGE - RMS_SMALL)

    def __call__(self, luma: NDArray[np.uint8]) -> None:
        """Add the pattern to a frame's luma, (height, width), in place."""
        strength = cv2.resize(self._strength(luma), luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.add(luma, cv2.multiply(self._pattern, strength), dst=luma, dtype=cv2.CV_8U)

    def _strength(self, luma: NDArray[np.uint8]) -> Any:
        """Standard deviation of the pattern around every place of the coarse map.

        It follows the least texture around, so that an edge beside a flat area does not count as texture.
        """
        fine = cv2.resize(luma, self._fine, interpolation=cv2.INTER_AREA)
        detail = cv2.absdiff(fine, cv2.blur(fine, SQUARE)).astype(np.float32)
        texture = cv2.resize(detail, self._coarse, interpolation=cv2.INTER_AREA)
        texture = cv2.blur(cv2.erode(texture, np.ones(AROUND, np.uint8)), AROUND)
        strength = np.minimum(FLAT + TEXTURE * texture, TOP)
        return strength * min(1.0, self._rms / float(np.sqrt(np.mean(strength * strength))))
