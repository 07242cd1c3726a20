"""Eyes: the eyeball stays in its socket while the lids slide over it, the iris follows the gaze.

The mesh stretches whatever lies between the lids. Here that is drawn again: inside the lids the eyeball is taken from
the photo in a frame that is fixed to the eye's corners; where the upper lid has come down, skin is laid over the
eyeball, with a crease above and lashes below.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kptalk.face.topology import EYE_CORNERS, IRISES, LID_PAIRS, lid_opening
from kptalk.render.mesh.matte import push_pull
from kptalk.render.mesh.topology import pixels_in_frame, smoothstep
from kptalk.types import Array, Image

LASH = 0.05  # of the eye's width: half thickness of the lash line of a closed eye
SHUT, WIDE = 0.25, 0.6  # of the photo's opening: drawn as shut below, as it is above


@dataclass(frozen=True)
class Eye:
    """One eye of the photo; lengths along and across the eye are in units of its width.

    Attributes:
        number: 0 for the eye at the picture's left, 1 at its right.
        origin, along, across: frame of the corners in the photo, pixels (2,); ``across`` points down.
        upper, lower: (9, 2) lid lines, corner to corner: along, across.
        iris: (2,) its centre; ``radius`` its radius.
        photo: (h, w, 3) the part of the photo around the eye; ``skin`` the same with the eye painted out by skin.
        corner: (2,) pixel position of that part.
        lash: (3,) colour of the lashes.
    """

    number: int
    origin: Array
    along: Array
    across: Array
    upper: Array
    lower: Array
    iris: Array
    radius: float
    photo: Image
    skin: Array
    corner: Array
    lash: Array


def prepare_eyes(image: Image, landmarks: Array) -> tuple[Eye, Eye]:
    """Read both eyes from a photo (H, W, 3) with landmarks (478, 3) pixels."""
    return _prepare(image, landmarks, 0), _prepare(image, landmarks, 1)


def seal_lids(face: Array, landmarks: Array) -> Array:
    """Close lids that are nearly closed, (478, 3): detectors and decoders stop a little short of it.

    Openings from 0.6 of the photo's are left as they are.
    """
    read = lid_opening(face) / np.maximum(lid_opening(landmarks), 1e-3)
    # Trackers often see one eye of a blink less closed than the other; a wink, the other eye open, stays one.
    wanted = read + np.clip((0.65 - read) / 0.2, 0, 1) * (read.min() - read)
    wanted = np.where(wanted < WIDE, np.maximum(WIDE * (wanted - SHUT) / (WIDE - SHUT), 0), wanted)
    face = face.copy()
    for pairs, kept in zip(LID_PAIRS, wanted / np.maximum(read, 1e-3), strict=True):
        if kept < 1:
            upper, lower = pairs[:, 0], pairs[:, 1]
            face[upper] = face[lower] + kept * (face[upper] - face[lower])
    return face


def draw_eyes(frame: Image, eyes: tuple[Eye, Eye], face: Array, vertical: float) -> None:
    """Draw both eyes into a warped frame, in place.

    Args:
        frame: (H, W, 3) the warped photo.
        eyes: of the photo.
        face: (478, 3) pixels of the frame.
        vertical: size of the head in the frame over that in the photo, across the eye.
    """
    for eye in eyes:
        _draw(frame, eye, face, vertical)


def _axes(face: Array, number: int) -> tuple[Array, Array, Array]:
    a, b = face[EYE_CORNERS[number], :2]
    along = b - a
    return a, along, np.array([-along[1], along[0]], np.float32)


def _local(points: Array, origin: Array, along: Array, across: Array) -> Array:
    """Pixels (..., 2) to the frame of the eye."""
    to = np.linalg.inv(np.stack([along, across]).astype(np.float64))
    return np.asarray((points - origin) @ to, np.float32)


def _lids(face: Array, number: int, origin: Array, along: Array, across: Array) -> tuple[Array, Array]:
    a, b = EYE_CORNERS[number]
    lines = []
    for side in (0, 1):
        line = _local(face[[a, *LID_PAIRS[number][:, side], b], :2], origin, along, across)
        line[:, 0] = np.maximum.accumulate(line[:, 0] + 1e-4 * np.arange(len(line)))
        lines.append(line)
    return lines[0], lines[1]


def _prepare(image: Image, landmarks: Array, number: int) -> Eye:
    origin, along, across = _axes(landmarks, number)
    width = float(np.linalg.norm(along))
    upper, lower = _lids(landmarks, number, origin, along, across)
    centre = _local(landmarks[IRISES[number][0], :2], origin, along, across)
    radius = float(np.linalg.norm(landmarks[IRISES[number][1:], :2] - landmarks[IRISES[number][0], :2], axis=1).mean())
    middle = origin + 0.5 * along
    height, columns = image.shape[:2]
    x0, y0 = np.maximum(np.floor(middle - 1.1 * width).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(middle + 1.1 * width).astype(int) + 1, [columns, height])
    photo = image[y0:y1, x0:x1].copy()

    u, v = pixels_in_frame((x0, y0, x1, y1), origin, along, across)
    inside = np.minimum(v - _curve(upper, u), _curve(lower, u) - v)
    beside = np.maximum(-u, u - 1)
    distance = np.maximum(-inside, beside)  # from the eye, in its widths
    known = smoothstep((distance - 0.10) / 0.06)
    skin = _skin(photo, known, distance, width)
    ring = (distance > -0.05) & (distance < 0.05)
    light = photo[ring].astype(np.float32) if ring.any() else photo.reshape(-1, 3).astype(np.float32)
    order = np.argsort(light.sum(1))
    lash = light[order[: max(1, len(order) // 8)]].mean(0)
    return Eye(
        number=number,
        origin=origin,
        along=along,
        across=across,
        upper=upper,
        lower=lower,
        iris=centre,
        radius=radius / width,
        photo=photo,
        skin=skin,
        corner=np.array([x0, y0], np.float32),
        lash=lash,
    )


def _skin(photo: Image, known: Array, distance: Array, width: float) -> Array:
    """The eye's surroundings with the eye painted out: bright skin around it, with some of the skin's own grain."""
    colours = photo.astype(np.float32)
    light = colours.sum(-1)
    near = (distance > 0.1) & (distance < 0.35)
    if near.sum() < 10:
        return colours
    # Brows, lashes and glasses are much darker than skin: they do not count.
    floor = 0.85 * np.median(light[near])
    weight = known * (light > floor) * np.exp(-np.clip(distance - 0.1, 0, None) / 0.08)
    filled = push_pull(colours, np.clip(weight, 0, 1))
    filled = cv2.GaussianBlur(filled, (0, 0), max(0.8, 0.05 * width))
    return np.asarray(filled, np.float32)


def _curve(line: Array, at: Array) -> Array:
    return np.interp(at, line[:, 0], line[:, 1]).astype(np.float32)


def _draw(frame: Image, eye: Eye, face: Array, vertical: float) -> None:
    number = eye.number
    origin, along, across = _axes(face, number)
    width = float(np.linalg.norm(along))
    if width < 2:
        return
    across = across / width * float(np.linalg.norm(eye.across)) * vertical
    upper, lower = _lids(face, number, origin, along, across)
    pad = 0.12 * width
    ends = np.concatenate([upper, lower, eye.upper])[:, None] * np.float32(1)
    corners = origin + ends[..., :1] * along + ends[..., 1:] * across
    low, high = corners.reshape(-1, 2).min(0) - pad, corners.reshape(-1, 2).max(0) + pad
    x0, y0 = np.maximum(np.floor(low).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(high).astype(int) + 1, [frame.shape[1], frame.shape[0]])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    patch = frame[y0:y1, x0:x1]
    u, v = pixels_in_frame((x0, y0, x1, y1), origin, along, across)
    pixel = 1 / width
    top, bottom = _curve(upper, u), _curve(lower, u)
    was_top, was_bottom = _curve(eye.upper, u), _curve(eye.lower, u)

    # Eyeball: fixed to the corners; squeezed only where the lids open wider than in the photo.
    middle = float(np.clip(eye.iris[1], eye.upper[:, 1].min(), eye.lower[:, 1].max()))
    up = np.clip((was_top - middle) / np.minimum(top - middle, -1e-3), None, 1)
    down = np.clip((was_bottom - middle) / np.maximum(bottom - middle, 1e-3), None, 1)
    source_v = middle + (v - middle) * np.where(v < middle, np.clip(up, 0, 1), np.clip(down, 0, 1))
    gaze = _local(face[IRISES[number][0], :2], origin, along, across) - eye.iris
    limit = np.array([0.28, 0.14], np.float32)
    gaze = limit * np.tanh(gaze / limit)
    centre = eye.iris + gaze
    reach = np.hypot(u - centre[0], source_v - centre[1])
    bump = 1 - smoothstep((reach - eye.radius) / (0.12 + 1.7 * float(np.abs(gaze).max())))
    source_u = np.clip(u - bump * gaze[0], 0, 1)
    source_v = source_v - bump * gaze[1]
    # A moved iris must not bring the lids' edges along.
    rim = 0.035 * bump * min(1.0, float(np.abs(gaze).max()) / 0.05)
    source_v = np.clip(source_v, _curve(eye.upper, source_u) + rim, _curve(eye.lower, source_u) - rim)
    where = eye.origin + source_u[..., None] * eye.along + source_v[..., None] * eye.across - eye.corner
    ball = cv2.remap(eye.photo, where.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    opening = np.clip(np.minimum(v - top, bottom - v) / pixel + 0.5, 0, 1)
    opening *= (u > 0) & (u < 1)
    colour = patch + opening[..., None] * (ball.astype(np.float32) - patch)

    # Upper lid: skin over the part of the eyeball that it has come down on.
    closed = float(np.mean(upper[2:7, 1] - eye.upper[2:7, 1]))
    gap = max(float(np.mean(eye.lower[2:7, 1] - eye.upper[2:7, 1])), 1e-3)
    closing = np.clip(closed / gap, 0, 1.2)
    if closing > 0.02:
        where = (eye.origin + u[..., None] * eye.along + v[..., None] * eye.across - eye.corner).astype(np.float32)
        skin = cv2.remap(eye.skin, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        drop = np.maximum(top - was_top, 0)
        rise = np.clip((v - was_top) / np.maximum(drop, 1e-3), 0, 1)  # 0 at the crease, 1 at the lashes
        shade = 1 - 0.16 * (1 - rise) ** 2 - 0.06 * rise**4
        cover = smoothstep((v - was_top + 0.07) / 0.18) * np.clip((top - 0.035 - v) / (1.5 * pixel) + 0.5, 0, 1)
        cover = cover * smoothstep(drop / 0.06)
        colour = colour + cover[..., None] * (skin * shade[..., None] - colour)
        strength = 0.85 * smoothstep(np.float32((closing - 0.45) / 0.45))
        taper = np.clip(np.minimum(u + 0.02, 1.02 - u) / 0.12, 0, 1)
        line = np.exp(-(((v - 0.5 * (top + np.minimum(bottom, top + 0.03))) / (LASH * (0.45 + 0.55 * taper))) ** 2))
        line = line * strength * taper
        colour = colour + line[..., None] * (np.minimum(eye.lash, colour) - colour)
    patch[...] = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
