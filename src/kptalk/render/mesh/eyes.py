"""Eyes: the eyeball stays in its socket while the lids slide over it, the iris follows the gaze.

The mesh stretches whatever lies between the lids. Here that is drawn again: inside the lids the eyeball is taken from
the photo in a plane that is fixed to the eye's corners; where the upper lid has come down, the skin around the eye is
laid over the eyeball with its make-up, and the lashes, which are kept apart from it, turn from up to down.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.face.geometry import smoothstep
from kptalk.face.measures import lid_opening
from kptalk.face.topology import EYE_CORNERS, IRISES, LID_PAIRS
from kptalk.render.mesh.matte import disc, push_pull
from kptalk.render.mesh.plane import Plane, box_around, height, increasing
from kptalk.types import Array, Image

# The fold of the upper lid, from the left corner to the right one, and the line below the brow.
FOLDS = np.array(
    [
        [(247, 113), (30, 225), (29, 224), (27, 223), (28, 222), (56, 221), (190, 189)],
        [(414, 413), (286, 441), (258, 442), (257, 443), (259, 444), (260, 445), (467, 342)],
    ]
)
LASH_LINE = 0.05  # of the eye's width: thickness of the lash line, which is no skin
LASH_LENGTH = 0.22  # likewise
MOST_LIFT = 1.35  # gain of light of a lid that comes down, at most
# What the edge of a lid that has met the other takes of the light, as measured on videos of 40 eyes: above it, where
# the lid curves away, and below it, behind the lashes. Depth, distance from the edge and spread, in widths of the eye.
ABOVE_EDGE, BELOW_EDGE = (0.40, 0.05, 0.11), (0.14, 0.10, 0.07)
SHADE, LESS_SHADE = 1.2, 0.95  # its strength, and how much less it is by the lashes' light over the skin's
LINE_UP = 0.03  # of the eye's width: where lids have met, their line lies above the edge that trackers see
CLOSED_OPENING, FREE_OPENING = 0.25, 0.6  # of the photo's opening: drawn as shut below, as it is above


@dataclass(frozen=True)
class Eye:
    """One eye of the photo; lengths are in units of its width, along and across it."""

    number: int  # 0 for the eye at the picture's left, 1 at its right
    plane: Plane  # from corner to corner
    upper: Array  # (9, 2) lid line, corner to corner: along, across
    lower: Array  # likewise
    iris: Array  # (2,) its centre
    radius: float  # of the iris
    photo: Image  # (h, w, 3) the part of the photo around the eye
    skin: Array  # (h, w, 3) the same without eye and lashes
    lashes: Array  # (h, w) what the lashes leave of the skin's light, 0 to 1
    corner: Array  # (2,) pixel position of that part
    lash: Array  # (3,) colour of the lashes
    shade: float  # strength of the shade at the edge of its closed lid


def prepare_eye(image: Image, landmarks: Array, number: int) -> Eye:
    """Read an eye from a photo (H, W, 3) with landmarks (478, 3) pixels; number 0 is the one at the picture's left."""
    plane = Plane.between(*landmarks[EYE_CORNERS[number], :2])
    width = plane.width
    upper, lower = _lids(landmarks, number, plane)
    iris, *rim = landmarks[IRISES[number], :2]
    radius = float(np.linalg.norm(rim - iris, axis=1).mean()) / width
    box = x0, y0, x1, y1 = box_around((plane.origin + 0.5 * plane.along)[None], 1.1 * width, image)
    photo = image[y0:y1, x0:x1].copy()

    u, v = plane.grid(box)
    inside = np.minimum(v - height(upper, u), height(lower, u) - v)
    distance = np.maximum(-inside, np.maximum(-u, u - 1))  # from the eye, in its widths
    ring = (distance > -0.05) & (distance < 0.05)
    light = photo[ring].astype(np.float32) if ring.any() else photo.reshape(-1, 3).astype(np.float32)
    darkest = np.argsort(light.sum(1))[: max(1, len(light) // 8)]
    skin, lash = _skin(photo, distance, v < height(upper, u), u, width), light[darkest].mean(0)
    corner = np.array([x0, y0], np.float32)
    lashes = np.clip((photo.sum(-1) + 20) / (skin.sum(-1) + 20), 0, 1).astype(np.float32)
    lashes = cv2.GaussianBlur(lashes, (0, 0), max(0.5, 0.015 * width))
    lid = skin[(distance > 0.05) & (distance < 0.2) & (v < height(upper, u))]
    pale = float(lash.mean() / max(lid.mean(), 1)) if len(lid) else 0.0
    shade = max(0.0, SHADE - LESS_SHADE * pale)
    return Eye(number, plane, upper, lower, _local(iris, plane), radius, photo, skin, lashes, corner, lash, shade)


def close_lids(face: Array, landmarks: Array) -> Array:
    """Close lids that are nearly closed, (478, 3): detectors and decoders stop a little short of it.

    Openings from 0.6 of the photo's are left as they are.
    """
    read = lid_opening(face) / np.maximum(lid_opening(landmarks), 1e-3)
    # Trackers often see one eye of a blink less closed than the other; a wink, the other eye open, stays one.
    wanted = read + np.clip((0.65 - read) / 0.2, 0, 1) * (read.min() - read)
    spread = np.maximum(FREE_OPENING * (wanted - CLOSED_OPENING) / (FREE_OPENING - CLOSED_OPENING), 0)
    wanted = np.where(wanted < FREE_OPENING, spread, wanted)
    face = face.copy()
    for pairs, kept in zip(LID_PAIRS, wanted / np.maximum(read, 1e-3), strict=True):
        if kept < 1:
            upper, lower = pairs[:, 0], pairs[:, 1]
            face[upper] = face[lower] + kept * (face[upper] - face[lower])
    return face


def draw_eye(frame: Image, eye: Eye, face: Array, vertical: float) -> None:
    """Draw the photo's eye into a warped frame (H, W, 3) with the face (478, 3), in place.

    ``vertical`` is the size of the head in the frame over that in the photo, across the eye.
    """
    plane = Plane.between(*face[EYE_CORNERS[eye.number], :2])
    width = plane.width
    if width < 2:
        return
    plane = plane._replace(across=plane.across / width * float(np.linalg.norm(eye.plane.across)) * vertical)
    upper, lower = lids = _lids(face, eye.number, plane)
    closed = float(np.mean(upper[2:7, 1] - eye.upper[2:7, 1]))
    gap = max(float(np.mean(eye.lower[2:7, 1] - eye.upper[2:7, 1])), 1e-3)
    closing = float(np.clip(closed / gap, 0, 1))

    box = x0, y0, x1, y1 = box_around(plane.pixels(*np.concatenate(lids).T), 2, frame)
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    patch = frame[y0:y1, x0:x1]
    u, v = plane.grid(box)
    top, bottom = height(upper, u), height(lower, u)
    gaze = _local(face[IRISES[eye.number][0], :2], plane) - eye.iris
    eyeball = _eyeball(eye, u, v, top, bottom, gaze)
    opening = np.clip(np.minimum(v - top, bottom - v) * width + 0.5, 0, 1) * ((u > 0) & (u < 1))
    if closing > 0:  # a lid that comes down throws its shadow on the eyeball
        eyeball *= (1 - 0.4 * min(1, 2 * closing) * np.exp(-np.maximum(v - top, 0) / 0.05))[..., None]
    patch[...] = np.clip(np.rint(patch + opening[..., None] * (eyeball - patch)), 0, 255).astype(np.uint8)
    if closing > 0.02:
        _draw_upper_lid(frame, eye, plane, lids, _fold(face, eye.number, plane), closing)


def _local(points: Array, plane: Plane) -> Array:
    """Pixels (..., 2) to the plane of the eye."""
    return np.asarray((points - plane.origin) @ plane.inverse, np.float32)


def _lids(face: Array, number: int, plane: Plane) -> tuple[Array, Array]:
    """Lines of the upper and the lower lid, corner to corner, (9, 2)."""
    a, b = EYE_CORNERS[number]
    upper, lower = (increasing(_local(face[[a, *lid, b], :2], plane)) for lid in LID_PAIRS[number].T)
    return upper, lower


def _fold(face: Array, number: int, plane: Plane) -> Array:
    """The line in the middle between the upper lid's fold and the brow, (7, 2)."""
    return increasing(_local(face[FOLDS[number], :2].mean(1), plane))


def _skin(photo: Image, distance: Array, above: NDArray[np.bool_], u: Array, width: float) -> Array:
    """The eye's surroundings (h, w, 3) float32 without eye and lashes: dark strokes are closed over."""
    colours, light = photo.astype(np.float32), photo.sum(-1, dtype=np.float32)
    known = smoothstep((distance - 1.5 * LASH_LINE) / 0.05)
    lid = above & (distance > 1.5 * LASH_LINE) & (distance < 0.2)
    usual = np.percentile(light[lid], 70) if lid.any() else 1.0  # of the lid: make-up may be darker than skin
    known *= np.clip(light / max(float(usual), 1), 0.05, 1) ** 4  # shadow and the last of the lashes count less
    sure = smoothstep((distance - 0.1) / 0.3)[..., None]
    filled = push_pull(colours, known)
    # The lid lies in the brow's shadow; coming down its middle gets into the light of the cheek.
    cheek = ~above & (distance > 0.2)
    light_there = float(np.median(light[cheek])) if cheek.any() else 1.0
    lift = np.clip(light_there / np.maximum(filled.sum(-1, keepdims=True), 1), 1, MOST_LIFT**2) ** 0.5
    filled *= 1 + smoothstep((np.minimum(u, 1 - u) + 0.1) / 0.4)[..., None] * (lift - 1)
    filled += sure * (colours - filled)
    closed = cv2.morphologyEx(filled, cv2.MORPH_CLOSE, disc(0.12 * width))
    return np.asarray(cv2.GaussianBlur(closed, (0, 0), max(0.6, 0.02 * width)), np.float32)


def _eyeball(eye: Eye, u: Array, v: Array, top: Array, bottom: Array, gaze: Array) -> Array:
    """The eyeball (h, w, 3) float32: fixed to the corners; squeezed only where the lids open wider than in the photo.

    ``u``, ``v`` (h, w) are the pixels' places, ``top``, ``bottom`` (h, w) the lids there, ``gaze`` (2,) how far the
    iris moves.
    """
    middle = float(np.clip(eye.iris[1], eye.upper[:, 1].min(), eye.lower[:, 1].max()))
    up = np.clip((height(eye.upper, u) - middle) / np.minimum(top - middle, -1e-3), 0, 1)
    down = np.clip((height(eye.lower, u) - middle) / np.maximum(bottom - middle, 1e-3), 0, 1)
    source_v = middle + (v - middle) * np.where(v < middle, up, down)
    limit = np.array([0.28, 0.14], np.float32)
    gaze = limit * np.tanh(gaze / limit)
    centre, farthest = eye.iris + gaze, float(np.abs(gaze).max())
    bump = 1 - smoothstep((np.hypot(u - centre[0], source_v - centre[1]) - eye.radius) / (0.12 + 1.7 * farthest))
    source_u = np.clip(u - bump * gaze[0], 0, 1)
    # A moved iris must not bring the lids' edges along.
    rim = 0.035 * bump * min(1.0, farthest / 0.05)
    low, high = height(eye.upper, source_u) + rim, height(eye.lower, source_u) - rim
    return _sample(eye, eye.photo, source_u, np.clip(source_v - bump * gaze[1], low, high)).astype(np.float32)


def _draw_upper_lid(
    frame: Image, eye: Eye, plane: Plane, lids: tuple[Array, Array], fold: Array, closing: float
) -> None:
    """Draw the upper lid where it has come down, in place: its skin from the ``fold`` (7, 2) on, and its lashes."""
    box = x0, y0, x1, y1 = box_around(plane.pixels(*np.concatenate([*lids, fold]).T), 0.15 * plane.width, frame)
    patch = frame[y0:y1, x0:x1]
    u, v = plane.grid(box)
    top, bottom = (height(lid, u) for lid in lids)
    was_top = height(eye.upper, u)
    drop = np.maximum(top - was_top, 0)
    skin = _sample(eye, eye.skin, u, v - 0.3 * drop)  # a lid moves, but most of what appears was folded away
    beside = smoothstep((np.minimum(u, 1 - u) + 0.15) / 0.15) * float(smoothstep(closing / 0.3))
    shown = np.maximum(smoothstep(drop / 0.2), beside)
    cover = smoothstep((v - height(fold, u)) / 0.1) * np.clip((top - v) * plane.width + 0.5, 0, 1) * shown
    colour = patch + cover[..., None] * (skin - patch)
    colour = colour * (1 - _shade(eye, u, top - v, closing))[..., None]
    # The lashes turn with the lid: up in the photo, towards the viewer, then down.
    turn = np.cos(np.pi * closing)
    along = (top - v) * np.sign(turn) / max(abs(turn), 0.25)
    shown = shown * smoothstep((LASH_LENGTH - along) / 0.15) * smoothstep((along + 0.02) / 0.04)
    lashes = 1 - 0.7 * shown * (1 - _sample(eye, eye.lashes, u, was_top - along))
    colour = colour * lashes[..., None]
    strength = 0.6 * smoothstep(np.asarray((closing - 0.45) / 0.45, np.float32))
    taper = np.clip(np.minimum(u + 0.02, 1.02 - u) / 0.12, 0, 1)
    middle = 0.5 * (top + np.minimum(bottom, top + 0.03)) - LINE_UP * closing
    line = np.exp(-(((v - middle) / (LASH_LINE * (0.45 + 0.55 * taper))) ** 2))
    colour += (line * strength * taper)[..., None] * (np.minimum(eye.lash, colour) - colour)
    patch[...] = np.clip(np.rint(colour), 0, 255).astype(np.uint8)


def _shade(eye: Eye, u: Array, above: Array, closing: float) -> Array:
    """What the edge of a lid that comes down takes of the light, 0 to 1, at places ``above`` it."""
    strength = eye.shade * float(smoothstep(closing / 0.8))
    ends = smoothstep((np.minimum(u, 1 - u) + 0.1) / 0.3)
    sides = [depth * np.exp(-(((np.abs(above) - at) / width) ** 2)) for depth, at, width in (ABOVE_EDGE, BELOW_EDGE)]
    on_lid = np.clip(above * eye.plane.width + 0.5, 0, 1)
    return np.asarray(strength * ends * (sides[1] + on_lid * (sides[0] - sides[1])))


def _sample(eye: Eye, part: Image | Array, u: Array, v: Array) -> Array:
    """What ``photo``, ``skin`` or ``lashes`` shows at places of the photo's own plane."""
    where = (eye.plane.pixels(u, v) - eye.corner).astype(np.float32)
    return np.asarray(cv2.remap(part, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
