"""The photo as two layers: the person with soft edges, and the background with the person painted out."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.face.geometry import smoothstep
from kptalk.face.segmentation import segment_person
from kptalk.face.topology import OVAL
from kptalk.render.mesh.guided_filter import guided_filter
from kptalk.types import Array, Image

INPAINT_REACH = 60.0  # pixels of a 512-pixel photo: how far lines of the background are continued behind the person
HAIR_REACH = 30.0  # pixels of a 512-pixel photo: how far beyond the segmentation hair is looked for
MAX_PERSON_SHARE = 0.97  # above this share of person the photo is one layer


@dataclass(frozen=True)
class Layers:
    """A photo I = person + (1 - alpha) background, exactly up to rounding."""

    person: NDArray[np.uint8]  # (H, W, 4) premultiplied RGB and alpha
    background: Image  # (H, W, 3)


def split_layers(image: Image, landmarks: Array) -> Layers:
    """Split a photo (H, W, 3) with the face ``landmarks`` (478, 3) pixels into layers."""
    unit = max(image.shape) / 512
    alpha = _alpha(image, landmarks, unit)
    if alpha.mean() > MAX_PERSON_SHARE:
        return Layers(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), image.copy())
    return _consistent(image, alpha, _paint_out(image, alpha, unit))


def _alpha(image: Image, landmarks: Array, unit: float) -> Array:
    """Person matte (H, W) float32, 0 to 1."""
    height, width = image.shape[:2]
    mask = cv2.resize(segment_person(image), (width, height))
    # The face is always person, whatever the segmentation says; islands that do not touch it stay in the background.
    face = np.zeros((height, width), np.uint8)
    outline = landmarks[OVAL, :2]
    cv2.fillPoly(face, [np.rint(outline + 0.1 * (outline.mean(0) - outline)).astype(np.int32)], 1)
    _, parts = cv2.connectedComponents(((mask > 0.4) | (face > 0)).astype(np.uint8))
    own = (parts == np.bincount(parts[face > 0]).argmax()).astype(np.uint8)
    outside = cv2.distanceTransform(1 - own, cv2.DIST_L2, 5) / unit
    inside = cv2.distanceTransform(own, cv2.DIST_L2, 5) / unit
    soft = guided_filter(image, np.clip(0.5 + (inside - outside) / 6, 0, 1), max(2, round(7 * unit)), 60.0)
    # In the band of hair each pixel lies between the colours of the person and of the background around it.
    reach = min(HAIR_REACH, 0.7 * float(outside.max()))
    photo = image.astype(np.float32)
    person = push_pull(photo, (inside > 5).astype(np.float32))
    behind = push_pull(photo, (outside > reach).astype(np.float32))
    apart = person - behind
    contrast = (apart * apart).sum(-1)
    between = ((photo - behind) * apart).sum(-1) / np.maximum(contrast, 1)
    sure = smoothstep(np.sqrt(contrast) / 80 - 0.5)
    alpha = soft + sure * (np.clip(between, 0, 1) - soft)
    alpha *= 1 - smoothstep((outside - 4) / max(reach - 4, 1))
    alpha = np.maximum(alpha, smoothstep((inside - 1) / 6))
    alpha = np.clip((alpha - 0.15) / 0.7, 0, 1)
    alpha[face > 0] = 1
    return np.asarray(alpha, np.float32)


def disc(radius: float) -> NDArray[np.uint8]:
    """A kernel for morphology, a pixel of radius at least."""
    size = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _paint_out(image: Image, alpha: Array, unit: float) -> Array:
    """Background (H, W, 3) float32: smooth colours behind the person and its soft edge, the photo elsewhere."""
    photo = image.astype(np.float32)
    edge = (alpha > 0.02).astype(np.uint8)
    hole = cv2.dilate(edge, disc(7 * unit))
    behind = _continued(push_pull(photo, (hole == 0).astype(np.float32)), hole, unit)
    share = cv2.GaussianBlur(cv2.dilate(edge, disc(3.5 * unit)).astype(np.float32), (0, 0), 1.5 * unit)
    share = np.maximum(share, edge)[..., None]
    return np.asarray(photo + share * (behind - photo), np.float32)


def _continued(filled: Array, hole: NDArray[np.uint8], unit: float) -> Array:
    """Lines of the background run on for a while behind the person: Telea's inpainting, at half size."""
    full = filled.shape[1::-1]
    size = max(1, full[0] // 2), max(1, full[1] // 2)
    small = np.clip(np.rint(cv2.resize(filled, size, interpolation=cv2.INTER_AREA)), 0, 255).astype(np.uint8)
    inner = cv2.resize(hole, size, interpolation=cv2.INTER_NEAREST)
    depth = cv2.distanceTransform(inner, cv2.DIST_L2, 3) * 2 / unit
    band = ((depth > 0) & (depth < INPAINT_REACH)).astype(np.uint8)
    lines = cv2.resize(cv2.inpaint(small, band, 4, cv2.INPAINT_TELEA), full)
    share = np.clip(2 - 2 * cv2.resize(depth, full) / INPAINT_REACH, 0, 1)
    share = (share * (hole > 0))[..., None]
    return np.asarray(filled + share * (lines - filled), np.float32)


def push_pull(image: Array, known: Array) -> Array:
    """Fill the unknown pixels of (H, W, C) smoothly from the known ones; ``known`` (H, W) is 0 to 1."""
    height, width = known.shape
    if min(height, width) <= 1 or known.min() >= 1:
        weight = np.maximum(known, 1e-6)[..., None]
        mean = (image * weight).sum((0, 1)) / weight.sum()
        return np.where(known[..., None] > 0, image, mean).astype(np.float32)
    size = (max(1, width // 2), max(1, height // 2))
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    below = summed / np.maximum(weight, 1e-6)[..., None]
    below = push_pull(below, np.clip(weight * 2, 0, 1) if weight.max() > 0 else np.ones_like(weight))
    up = cv2.resize(below, (width, height))
    return np.asarray(image * known[..., None] + up * (1 - known[..., None]), np.float32)


def _consistent(image: Image, alpha: Array, background: Array) -> Layers:
    """Raise alpha to the least value that lets the premultiplied person be a colour: then no motion is the photo."""
    flat = np.clip(np.rint(background), 0, 255)
    photo = image.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        darker = np.where(flat > photo, 1 - photo / flat, 0)
        lighter = np.where(photo > flat, (photo - flat) / (255 - flat), 0)
    needed = np.maximum(darker, lighter).max(-1)
    alpha = np.ceil(255 * np.maximum(alpha, needed) - 1e-3) / 255
    person = photo - (1 - alpha[..., None]) * flat
    layer = np.clip(np.rint(np.dstack([person, 255 * alpha])), 0, 255)
    return Layers(layer.astype(np.uint8), flat.astype(np.uint8))
