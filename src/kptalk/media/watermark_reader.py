"""Finds the watermark of a video again, without the original: after compression, scaling, cropping, other frame rates.

The mean of many frames keeps the pattern and loses what moves. Texture is evened out, in small pictures in the means of
a few frames each, of which each gives as much; the periods are folded upon each other, and a Fourier transform
correlates the result with the part of the pattern that is always the same, at all shifts at once. Unknown scales are
tried one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.errors import InputError
from kptalk.media.container import decode, open_stream
from kptalk.media.watermark import CANONICAL, PERIOD, carrier
from kptalk.media.watermark_code import CODED, Payload, encode
from kptalk.media.watermark_code import decode as decode_bits
from kptalk.types import Array

RUN, RUNS = 300, 4  # frames that are looked at together, and how often before giving up
FEW = 10  # frames whose mean is evened out by itself, where the picture is no larger than CANONICAL
AROUND = (5, 5)  # coefficients of the transform that are as strong as the one in the middle, but for the pattern
# The longer side, in pixels of the pattern, of what is looked for where neither its own size nor CANONICAL is it: steps
# that are too coarse for the finest frequencies at the edges, and finer ones around the best.
LEAST, MOST, STEP, FINER, BEST = 150, 530, 0.008, (-0.004, -0.002, 0.0, 0.002, 0.004), 4
PEAKS = 6  # places of the strongest correlation that are looked at
# In standard deviations of what unmarked video gives; benchmarks/watermark.py measures how often that is more.
SURE, SURE_SCALED, POSSIBLE, AGREED = 6.2, 6.8, 4.2, 9.5


@dataclass(frozen=True)
class Watermark:
    """A watermark that was found.

    Attributes:
        payload: what it says, or None where that can no longer be read.
        correlation: of the video with the pattern that all watermarks share, in standard deviations of chance.
        agreement: of the video with what was read, in standard deviations of chance.
        scale: by which the video's pixels must be enlarged to be those of the pattern.
    """

    payload: Payload | None
    correlation: float
    agreement: float
    scale: float


def read_watermark(path: str | PathLike[str]) -> Watermark | None:
    """Look for a watermark in a video; None where there is none.

    2 seconds of 256 x 256 pixels are enough where the video was not treated much worse than it deserves. In all, 1200
    frames are looked at.

    Raises:
        InputError: the file is absent, unreadable, or has no pictures.
    """
    for means in _means(path):
        if (found := find_watermark(means)) is not None:
            return found
    return None


def find_watermark(means: Array) -> Watermark | None:
    """Look for a watermark in means of frames, (n, H, W) float32 luma; None where there is none."""
    longest = max(means.shape[1:])
    known = [_at_scale(means, scale, SURE) for scale in dict.fromkeys((1.0, CANONICAL / longest))]
    if any(known):
        return max(filter(None, known), key=_certainty)
    scales, whole = np.exp(np.arange(np.log(LEAST), np.log(MOST), STEP)) / longest, means.mean(0, keepdims=True)
    coarse = sorted(scales, key=lambda scale: -_correlation(_spectrum(whole, scale)).max())[:BEST]
    tried = [_at_scale(whole, float(scale * (1 + step)), SURE_SCALED) for scale in coarse for step in FINER]
    return max(filter(None, tried), key=_certainty, default=None)


def _certainty(found: Watermark) -> tuple[bool, float]:
    return found.payload is not None, found.correlation


def _means(path: str | PathLike[str]) -> Iterator[Array]:
    """Means of ``FEW`` frames each of small pictures, else of all, turned as they are shown; of ``RUN`` frames each."""
    with open_stream(path, "video") as (container, stream):
        sums, counts, shape, runs, turns = list[Array](), list[int](), None, 0, 0
        for frame in decode(container, stream):
            luma = frame.reformat(format="gray").to_ndarray().astype(np.float32)
            if sums and luma.shape != shape:
                continue
            shape, turns = luma.shape, round(frame.rotation / 90) % 4
            if not sums or (counts[-1] == FEW and max(shape) <= CANONICAL):
                sums.append(luma)
                counts.append(1)
            else:
                sums[-1] += luma
                counts[-1] += 1
            if sum(counts) == RUN:
                yield _turned(sums, counts, turns)
                sums, counts, runs = [], [], runs + 1
                if runs == RUNS:
                    return
        if not sums and not runs:
            raise InputError(f"{path} has a video stream, but no picture of it can be decoded")
        if sums and (sum(counts) >= RUN // 4 or not runs):
            yield _turned(sums, counts, turns)


def _turned(sums: list[Array], counts: list[int], turns: int) -> Array:
    means = np.stack([total / count for total, count in zip(sums, counts, strict=True)])
    return np.ascontiguousarray(np.rot90(means, turns, (1, 2)))


def _spectrum(means: Array, scale: float) -> NDArray[np.complex128]:
    """Of the periods folded upon each other, every coefficient as strong as those around it."""
    folded = sum(_folded(picture, scale) for picture in means)
    spectrum = np.fft.fft2(folded)
    power = cv2.blur(np.fft.fftshift(np.abs(spectrum) ** 2), AROUND, borderType=cv2.BORDER_REFLECT)
    return np.asarray((spectrum / np.sqrt(np.fft.ifftshift(power) + 1e-9)).ravel())


def _folded(picture: Array, scale: float) -> Array:
    if scale != 1:
        size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    detail = picture - cv2.GaussianBlur(picture, (0, 0), 3)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2)) + 0.1
    even = np.clip(detail / contrast, -2.5, 2.5)
    height, width = even.shape
    even = np.pad(even, ((0, -height % PERIOD), (0, -width % PERIOD)))
    return np.asarray(even.reshape(even.shape[0] // PERIOD, PERIOD, -1, PERIOD).sum((0, 2)))


def _correlation(spectrum: NDArray[np.complex128]) -> Array:
    """With the pattern of all watermarks at every shift, (PERIOD, PERIOD), in standard deviations."""
    known = carrier()
    product = np.zeros_like(spectrum)
    product[known.sync] = spectrum[known.sync] * known.phase[known.sync].conj()
    values = np.fft.ifft2(product.reshape(PERIOD, PERIOD)).real
    return np.asarray(values / (values.std() + 1e-12))


def _at_scale(means: Array, scale: float, sure: float) -> Watermark | None:
    spectrum = _spectrum(means, scale)
    values = _correlation(spectrum)
    best: Watermark | None = None
    rest = values.copy()
    for _ in range(PEAKS):
        place = np.unravel_index(int(rest.argmax()), rest.shape)
        height = float(values[place])
        if height < POSSIBLE:
            break
        payload, agreement = _read(spectrum, [_vertex(values, place, axis) for axis in (0, 1)])
        if payload is not None and agreement >= AGREED:
            return Watermark(payload, height, agreement, scale)
        if best is None and height >= sure:
            best = Watermark(None, height, agreement, scale)
        rest[tuple(np.ix_(*((np.arange(k - 2, k + 3)) % PERIOD for k in place)))] = -np.inf
    return best


def _vertex(values: Array, place: tuple[np.intp, ...], axis: int) -> float:
    """Where the parabola through a peak and its neighbours is highest."""
    before, at, after = (
        float(values[tuple((k + o * (j == axis)) % PERIOD for j, k in enumerate(place))]) for o in (-1, 0, 1)
    )
    bend = before - 2 * at + after
    return float(place[axis]) + (0.5 * (before - after) / bend if bend else 0.0)


def _read(spectrum: NDArray[np.complex128], shift: list[float]) -> tuple[Payload | None, float]:
    """The payload of a pattern that is shifted so, and how well the video agrees with it."""
    known = carrier()
    frequency = np.fft.fftfreq(PERIOD, 1 / PERIOD)
    down, right = (frequency[k] for k in np.divmod(known.payload, PERIOD))
    turn = np.exp(2j * np.pi * (down * shift[0] + right * shift[1]) / PERIOD)
    parts = spectrum[known.payload] * turn * known.phase[known.payload].conj()
    values = np.stack([parts.real, parts.imag], 1).ravel()
    value = decode_bits(np.bincount(known.bit, values, CODED).astype(np.float32))
    agreement = float(encode(value)[known.bit] @ values / np.sqrt(values @ values))
    return Payload.from_int(value), agreement
