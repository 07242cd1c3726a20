"""The drawn square pasted back into the frame, at the frame's own resolution.

Lips and lids are the denoiser's. Elsewhere in the face only its shading is taken, added to the warped photo, whose
pores and hair are finer than the square's pixels. Beyond the face nothing changes.
"""

import cv2
import numpy as np

from kptalk.face.geometry import smoothstep
from kptalk.types import Array, Floats, Image

SIDE = 128  # of the square that these numbers of pixels are for; of another they change with it
LIPS, EYES = 11, 5  # by which the lips' and the lids' maps are widened
SOFT, SOFT_INSIDE, SOFT_FACE = 2.0, 0.8, 3.0  # edges: of what is drawn, between the lips, of the face
SHADING = 4.0  # below which a difference is detail and not shading
# Between the lips a denoiser trained for an hour is soft, the wider they are open the more: its colours are kept, and
# edges of teeth and cavity come from the mesh renderer's mouth, in this share over lip gaps in mouth widths.
DETAIL_GAPS, DETAIL = (0.08, 0.2, 0.35, 0.5), (0.25, 0.5, 0.75, 0.9)
DETAIL_SIZE = 5.0  # pixels, above which it is no detail
SATURATION = (0.06, 0.14), (0.58, 0.68)  # of skin in HSV: where the denoiser fades in, and out again
BORDER = 0.01, 0.07  # of the square's side: where drawing begins, and over which it fades in


def in_domain(skin: Floats) -> float:
    """How much a photo with this skin (3,) RGB is like the videos that the denoiser was trained on, 0 to 1.

    Measured by the skin's saturation in HSV. Statues, photos without colour and gaudy paintings have another; these
    keep what the mesh renderer drew.
    """
    saturation = float(np.ptp(skin)) / max(float(np.max(skin)), 1.0)
    rise, fall = (smoothstep((saturation - low) / (high - low)) for low, high in SATURATION)
    return float(rise * (1 - fall))


def detail_share(gap: float, own_teeth: bool) -> float:
    """How much detail of the mesh renderer's mouth stays, with lips ``gap`` mouth widths apart; own teeth all do."""
    return 1.0 if own_teeth else float(np.interp(gap, DETAIL_GAPS, DETAIL))


def regions(maps: Image) -> tuple[Array, Array, Array]:
    """What is drawn, from landmark maps (S, S, 5): weights (S, S) of the lips, of the lids, and between the lips."""
    share = len(maps) / SIDE

    def widened(channel: int, width: int) -> Array:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(width * share),) * 2)
        grown = cv2.dilate(maps[..., channel], kernel).astype(np.float32) / 255
        return np.asarray(cv2.GaussianBlur(grown, (0, 0), SOFT * share))

    inside = cv2.GaussianBlur(maps[..., 0].astype(np.float32) / 255, (0, 0), SOFT_INSIDE * share)
    return widened(1, LIPS), widened(3, EYES), inside


def paste_back(
    frame: Image, drawn: Array, own: Image, affine: Array, maps: Image, face: Array, detail: float, moved: float
) -> None:
    """Blend a drawn square into a frame, in place.

    Args:
        frame: (H, W, 3) what the mesh renderer drew.
        drawn: (S, S, 3) float32 the denoiser's square, 0 to 255.
        own: (S, S, 3) the frame's own square.
        affine: (2, 3) from the frame's pixels to the square's.
        maps: (S, S, 5) landmark maps.
        face: (n, 2) outline of the face in the square.
        detail: how much of the mesh renderer's stays between the lips, see ``detail_share``.
        moved: how far the lips are from the photo's, 0 to 1: where they are its own, it is the best picture of them.
    """
    size, share = len(own), len(own) / SIDE
    lips, lids, inside = regions(maps)
    weight, inside = np.maximum(moved * lips, lids), moved * inside
    change = drawn - own
    shading = cv2.GaussianBlur(change, (0, 0), SHADING * share)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(face).astype(np.int32)), 255)
    mask = cv2.erode(mask, np.ones((_odd(5 * share),) * 2, np.uint8))
    around = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), SOFT_FACE * share)
    fade = _fade(size)
    change = fade[..., None] * (weight[..., None] * change + (moved * (1 - weight) * around)[..., None] * shading)
    back = cv2.invertAffineTransform(affine)
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]]) @ back[:, :2].T + back[:, 2]
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int), frame.shape[1::-1])
    if (high <= low).any():
        return
    at = affine.astype(np.float64).copy()
    at[:, 2] += at[:, :2] @ low
    shape = tuple((high - low).tolist())

    def grown(picture: Array) -> Array:
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(picture, at, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE))

    part = frame[low[1] : high[1], low[0] : high[0]]
    between = np.clip(grown(inside * fade), 0, 1)[..., None]
    around_lips = part + grown(change)
    within = drawn - detail * _smooth_inside(own, inside, DETAIL_SIZE * share)
    interior = grown(within) + detail * part
    part[:] = np.clip(np.rint(around_lips + between * (interior - around_lips)), 0, 255).astype(np.uint8)


def _smooth_inside(picture: Image, inside: Array, sigma: float) -> Array:
    """A picture (S, S, 3) blurred within a mask (S, S) alone."""
    weight = cv2.GaussianBlur(inside, (0, 0), sigma)[..., None]
    blurred = cv2.GaussianBlur(inside[..., None] * picture.astype(np.float32), (0, 0), sigma)
    return np.asarray(blurred / np.maximum(weight, 1e-3))


def _odd(width: float) -> int:
    return 2 * int(width / 2) + 1


def _fade(size: int) -> Array:
    """(S, S) from 0 at the square's edge to 1."""
    line = (np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / size - BORDER[0]) / BORDER[1]
    fade = np.minimum(line[:, None], line[None])
    return np.asarray(smoothstep(fade), np.float32)
