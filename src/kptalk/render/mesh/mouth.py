"""The mouth: an interior that stays with the skull and the jaw while the lips open over it, and lips that close.

The mesh stretches whatever the photo shows between the lips. As soon as the lips differ from the photo's, that is
replaced: cavity, tongue and lower teeth move with the jaw, upper teeth with the skull, and if the photo shows the
person's own teeth they are laid on top. Where a mouth that is open in the photo closes, a seam in the colours of its
own lips hides the rest of the gap.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kptalk.face.geometry import smoothstep
from kptalk.face.topology import LIP_PAIRS, LIPS_INNER, LIPS_OUTER
from kptalk.render.mesh import teeth
from kptalk.render.mesh.plane import Box, Plane, box_around, height, increasing
from kptalk.render.mesh.pose import RigidMotion
from kptalk.types import Array, Floats, Image

CORNERS = LIPS_INNER[[0, 10]]
# Lines of the lips from the left corner to the right one.
UPPER_OUTER, LOWER_OUTER = LIPS_OUTER[[0, *range(19, 9, -1)]], LIPS_OUTER[:11]
UPPER_INNER, LOWER_INNER = LIPS_INNER[[0, *range(19, 9, -1)]], LIPS_INNER[:11]
CHEEKS = [50, 101, 118, 117, 123, 187, 205, 280, 330, 347, 346, 352, 411, 425]
LINES = UPPER_OUTER, UPPER_INNER, LOWER_INNER, LOWER_OUTER
INNER_LOOP = np.concatenate([UPPER_INNER, LOWER_INNER[9:0:-1]])
CLOSED_GAP, FREE_GAP = 0.03, 0.08  # lip gap in mouth widths: drawn as closed below, as it is above
OPEN_GAP = 0.2  # lip gap from which no part of the lips counts as closed
SEAM_GAP = 0.03  # lip gap of a photo from which its lips need a seam when they close
TEETH_DEPTH = 0.16  # mouth widths from the lips to the teeth
# What little light falls between the lips, as measured on videos: over lip gaps in mouth widths, how bright the teeth
# are against their own colour, and the cavity, which is tongue and lower teeth as often as it is dark.
LIGHT_GAPS = (0.05, 0.15, 0.30, 0.50)
TEETH_LIGHT = (0.62, 0.74, 0.88, 0.95)
CAVITY_LIGHT = (1.7, 1.9, 1.6, 1.15)
RELIEF = 0.6, 1.45  # of the cavity's light, under the upper lip and over the lower one


@dataclass(frozen=True)
class Mouth:
    """The mouth of one photo."""

    origin: Array  # (3,) middle of the closed lips, on the plane of the teeth, 3-D pixels
    axes: Array  # (2, 3) of that plane: a mouth width along and across
    landmarks: Array  # (478, 3) of the photo
    width: float  # in pixels
    gap: float  # of the photo's lips in mouth widths
    upper: Array  # (h, w, 4) teeth, premultiplied
    lower: Array  # likewise
    tongue: Array  # likewise
    cavity: Array  # (3,) colour
    own: Array | None  # (h, w, 4) the photo's own interior, premultiplied
    own_corner: Array  # (2,) its place in the photo
    lips: Array  # (2, 3) colours of the upper and the lower lip next to the line between them


def prepare_mouth(image: Image, landmarks: Array, closed: Array) -> Mouth:
    """Read the mouth from a photo (H, W, 3) with landmarks (478, 3) pixels.

    ``closed`` (478, 3) is the same face in the same pose with closed lips.
    """
    along = closed[CORNERS[1]] - closed[CORNERS[0]]
    down = closed[152] - closed[10]
    down = down - along * (down @ along) / (along @ along)
    width = float(np.linalg.norm(along))
    down = down / np.linalg.norm(down) * width
    inwards = np.cross(along, down) / width**2
    # Middle of the closed lips, a little towards the corners' level: the corners may be drawn up by a smile.
    middle, side = 0.5 * (closed[13] + closed[14]), 0.5 * (closed[CORNERS[0]] + closed[CORNERS[1]])
    origin = side + down * float((middle - side) @ down) / width**2 + inwards * TEETH_DEPTH * width
    skin, lips, own_teeth = _colours(image, landmarks)
    gap = float(landmarks[14, 1] - landmarks[13, 1]) / width
    palette = _palette(skin, lips.mean(0), own_teeth)
    own, own_corner = _own(image, landmarks, width, gap, own_teeth is not None)
    origin, axes = origin.astype(np.float32), np.stack([along, down]).astype(np.float32)
    return Mouth(origin, axes, landmarks, width, gap, *teeth.textures(palette), palette.cavity, own, own_corner, lips)


def _polygon(image: Image, points: Array) -> Array:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return mask.astype(bool)


def skin_colour(image: Image, landmarks: Array) -> Floats:
    """Colour (3,) of the cheeks."""
    points = np.clip(np.rint(landmarks[CHEEKS, :2]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    colour: Floats = np.percentile(image[points[:, 1], points[:, 0]].astype(np.float32), 60, axis=0)
    return colour


def _colours(image: Image, landmarks: Array) -> tuple[Array, Array, Array | None]:
    """Skin (3,), lips (2, 3), and the colour of the photo's own teeth (3,) if it shows them convincingly."""
    skin = skin_colour(image, landmarks)
    middles = (UPPER_OUTER[3:8], UPPER_INNER[7:2:-1]), (LOWER_OUTER[3:8], LOWER_INNER[7:2:-1])
    parts = [_polygon(image, landmarks[np.concatenate(part), :2]) for part in middles]
    lips = np.stack([np.median(image[part], 0) if part.sum() > 4 else 0.7 * skin for part in parts])
    inside = _polygon(image, landmarks[INNER_LOOP, :2])
    own, width = None, np.linalg.norm(landmarks[CORNERS[1], :2] - landmarks[CORNERS[0], :2])
    if inside.sum() > 0.03 * width**2:
        pixels = image[inside].astype(np.float32)
        light = pixels.mean(1)
        # Teeth are brighter than the lips and hardly coloured; red gums and tongue are neither.
        pale = (pixels[:, 0] - pixels[:, 2]) < 0.45 * pixels[:, 0] + 4
        bright = (light > 1.12 * lips.mean()) & (light > 0.5 * skin.mean()) & pale
        if bright.mean() > 0.40:
            own = np.percentile(pixels[bright], 65, axis=0)
    return skin.astype(np.float32), lips.astype(np.float32), own


def _palette(skin: Array, lip: Array, own_teeth: Floats | None) -> teeth.Palette:
    light = float(skin.mean())
    colourful = min(1.0, float(skin.max() - skin.min()) / (0.25 * max(float(skin.max()), 1)))
    if own_teeth is None:
        # Brighter than the skin, less so on bright skin; ivory, and less so where the photo has little colour.
        tint = 0.82 * (1 - colourful * np.array([0, 0.02, 0.08])) + 0.18 * skin / max(light, 1)
        own_teeth = min(1.4 * light, 0.45 * light + 130, 240.0) * tint
    red = colourful * np.array([0.0, 0.28, 0.28])
    return teeth.Palette(
        teeth=np.clip(own_teeth, 0, 245).astype(np.float32),
        cavity=((0.14 * lip + 0.14 * skin) * (1 - red)).astype(np.float32),
        tongue=np.clip((0.55 * lip + 0.30 * skin) * (1.04 - 0.5 * red), 0, 235).astype(np.float32),
        gum=np.clip((0.6 * lip + 0.25 * skin) * (1 - 0.3 * red), 0, 235).astype(np.float32),
    )


def _own(image: Image, landmarks: Array, width: float, gap: float, shows_teeth: bool) -> tuple[Array | None, Array]:
    """The photo's own interior, premultiplied, and its corner in the photo; None where it shows no teeth.

    The teeth are continued upwards, under the lip: it may be drawn up further than in the photo.
    """
    if not shows_teeth or gap < 0.06:
        return None, np.zeros(2, np.float32)
    loop = landmarks[INNER_LOOP, :2]
    low = np.maximum(np.floor(loop.min(0) - [3, 0.15 * width]).astype(int), 0)
    high = np.minimum(np.ceil(loop.max(0)).astype(int) + 4, image.shape[1::-1])
    part = image[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint((loop - low) * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    rows = np.arange(len(part))[:, None]
    inset = max(1, round(0.03 * width))  # the lip's edge is no tooth
    first = np.where(mask.any(0), mask.argmax(0) + inset, 0)
    last = np.where(mask.any(0), len(part) - 1 - mask[::-1].argmax(0), -1)
    part = part[np.minimum(np.maximum(rows, first), len(part) - 1), np.arange(part.shape[1])]
    hanging = ((rows <= last) & (first <= last)).astype(np.uint8)
    distance = cv2.distanceTransform(hanging, cv2.DIST_L2, 5)
    alpha = smoothstep((distance - 0.012 * width) / (0.05 * width)).astype(np.float32)
    return np.dstack([part * alpha[..., None], alpha]).astype(np.float32), low.astype(np.float32)


def close_lips(face: Array, landmarks: Array) -> Array:
    """Close lips that are nearly closed, (478, 3), unless they are the photo's own."""
    width = float(np.linalg.norm(face[CORNERS[1], :2] - face[CORNERS[0], :2]))
    gap = float(np.linalg.norm(face[14, :2] - face[13, :2])) / max(width, 1e-3)
    own_lips, own_width = (landmarks[b, :2] - landmarks[a, :2] for a, b in ((13, 14), CORNERS))
    own = float(np.linalg.norm(own_lips) / np.linalg.norm(own_width))
    if gap >= FREE_GAP or own < CLOSED_GAP:
        return face
    kept = max(0.0, FREE_GAP * (gap - CLOSED_GAP) / (FREE_GAP - CLOSED_GAP)) / max(gap, 1e-3)
    differs = float(smoothstep((own - gap) / (0.4 * own)))
    kept = 1 + differs * (kept - 1)
    face = face.copy()
    upper, lower = LIP_PAIRS[:, 0], LIP_PAIRS[:, 1]
    middle, half = 0.5 * (face[upper] + face[lower]), 0.5 * kept * (face[lower] - face[upper])
    face[upper], face[lower] = middle - half, middle + half
    return face


def moved_share(mouth: Mouth, face: Array, head: RigidMotion) -> float:
    """How far the lips of vertices (478, 3) are from the photo's own, 0 to 1; up to 0 the photo is the best picture."""
    rigid, width = head.apply(mouth.landmarks), float(np.linalg.norm(face[CORNERS[1], :2] - face[CORNERS[0], :2]))
    away = np.linalg.norm(face[LIPS_INNER, :2] - rigid[LIPS_INNER, :2], axis=1).max() / max(width, 1e-3)
    return float(smoothstep((away - 0.015) / 0.06))


def draw_mouth(frame: Image, mouth: Mouth, face: Array, head: RigidMotion) -> None:
    """Draw the inside of the mouth and the closed lips' seam into a warped frame (H, W, 3), in place.

    ``face`` (478, 3) are pixels of the frame, ``head`` is the head's motion from the photo to the frame.
    """
    plane = Plane.between(*face[CORNERS, :2])
    width = plane.width
    if width < 4:
        return
    to, share = plane.inverse.astype(np.float32), moved_share(mouth, face, head)
    if share == 0:
        return
    lines = [increasing(np.asarray((face[line, :2] - plane.origin) @ to, np.float32)) for line in LINES]
    upper, lower = lines[1:3]
    # The lips themselves are drawn only where they close a mouth that is open in the photo.
    redrawn = mouth.gap > SEAM_GAP
    loop = np.concatenate(lines if redrawn else [upper, lower])
    box = x0, y0, x1, y1 = box_around(plane.pixels(*loop.T), 0.12 * width if redrawn else 2, frame)
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    patch = frame[y0:y1, x0:x1]
    u, v = plane.grid(box)
    top, bottom = height(upper, u), height(lower, u)
    open_by = np.maximum(bottom - top, 0)
    colour, pixel = patch.astype(np.float32), 1 / width
    widest = float((lower[:, 1] - upper[:, 1]).max())
    if widest > 0.008:
        # Of the cavity, the palate lies in the dark behind the teeth, the tongue in the light, the cheeks in the dark.
        depth = np.clip((v - top) / np.maximum(open_by, pixel), 0, 1)
        relief = (RELIEF[0] + (RELIEF[1] - RELIEF[0]) * smoothstep(depth)) * (0.75 + 0.25 * _taper(u, 0.35))
        inside = _interior(mouth, face, head, box, widest, relief)
        mask = smoothstep(((v - top) / pixel + 1) / 2) * smoothstep(((bottom - v) / pixel + 1) / 2) * _taper(u, 0.05)
        mask = mask * float(smoothstep((widest - 0.008) / 0.02))
        # Lips throw a soft shadow on what is behind them, the upper one more.
        below, above = np.clip(v - top, 0, None), np.clip(bottom - v, 0, None)
        shade = 1 - 0.36 * np.exp(-below / 0.045) - 0.20 * np.exp(-above / 0.03)
        shade = (shade * (0.2 + 0.8 * smoothstep((open_by - 0.01) / 0.1)))[..., None]
        inside = inside * shade + (1 - shade) * 0.45 * mouth.lips.mean(0)  # the shadow is as red as the lips
        colour = colour + (share * mask)[..., None] * (inside - colour)
    if mouth.gap > OPEN_GAP:
        colour = _lips(colour, mouth, u, v, [height(line, u) for line in lines], widest)
    if redrawn and widest < OPEN_GAP:
        colour = _seam(colour, mouth, u, v, top, bottom, open_by, share)
    patch[...] = np.clip(np.rint(colour), 0, 255).astype(np.uint8)


def _taper(u: Array, length: float) -> Array:
    """0 at the corners of the mouth and beyond, 1 from ``length`` on between them."""
    return smoothstep(np.minimum(u, 1 - u) / length)


def _interior(mouth: Mouth, face: Array, head: RigidMotion, box: Box, gap: float, relief: Array) -> Array:
    """Cavity, jaws and own teeth for the pixels of ``box``, (h, w, 3) float32.

    Lips are ``gap`` mouth widths apart; ``relief`` (h, w) is the light in the cavity.
    """
    x0, y0, x1, y1 = box
    size, corner = (x1 - x0, y1 - y0), np.array([x0, y0], np.float32)
    origin = head.apply(mouth.origin)[:2]
    axes = (mouth.axes @ head.matrix)[:, :2]
    down = axes[1] / max(float(axes[1] @ axes[1]), 1e-6)
    lip_up, lip_low = ((face[[13, 14], :2] - origin) @ down).tolist()
    wide = float(np.clip(lip_low - lip_up, 0, 0.5))
    # Upper teeth stay with the skull as long as the lip shows a natural part of them; the lower ones peep over the lip.
    upper_edge = float(np.clip(teeth.INCISAL, lip_up + 0.04 + 0.1 * wide, lip_up + 0.06 + 0.25 * wide))
    lower_edge = max(lip_low - 0.045, upper_edge + 0.01)
    tongue = lip_low - 0.05 - 0.42 * max(wide - 0.08, 0)
    half_texel = 0.5 / teeth.TEXELS
    layers = []  # and the (2, 3) matrix from a layer's pixels to those of the box
    light, dark = (float(np.interp(gap, LIGHT_GAPS, curve)) for curve in (TEETH_LIGHT, CAVITY_LIGHT))
    for texture, down_by, bright in (
        (mouth.tongue, max(tongue, upper_edge + 0.03), 1.0),
        (mouth.lower, lower_edge - teeth.LOWER_EDGE, light),
        (mouth.upper, upper_edge - teeth.INCISAL, light),
    ):
        start = origin - corner + down_by * axes[1] + np.array([half_texel - teeth.HALF, half_texel + teeth.TOP]) @ axes
        layers.append((texture, np.column_stack([(axes / teeth.TEXELS).T, start]), bright))
    if mouth.own is not None:
        # The plane of the teeth is taken as facing the camera in the photo: z is the same everywhere.
        start = head.apply(np.array([*mouth.own_corner, mouth.origin[2]]))[:2] - corner
        layers.append((mouth.own, np.column_stack([head.matrix[:2, :2].T, start]), 1.0))
    inside = np.asarray(dark * relief[..., None] * mouth.cavity, np.float32)
    for texture, transform, bright in layers:
        layer = cv2.warpAffine(texture, transform.astype(np.float32), size, flags=cv2.INTER_LINEAR)
        inside = inside * (1 - layer[..., 3:]) + bright * layer[..., :3]
    return np.asarray(inside, np.float32)


def _lips(colour: Array, mouth: Mouth, u: Array, v: Array, lines: list[Array], widest: float) -> Array:
    """Lips that are stretched thin around a wide open mouth get their colour where they become full again.

    ``lines`` are v of the outer and inner line of the upper lip, then of the inner and outer one of the lower.
    """
    closing = smoothstep((mouth.gap - widest) / mouth.gap) * min((mouth.gap - OPEN_GAP) / 0.15, 1.0)
    grain = colour - cv2.GaussianBlur(colour, (0, 0), 0.05 * mouth.width)
    for lip, (high, low) in zip(mouth.lips, (lines[:2], lines[2:]), strict=True):
        inside = smoothstep((v - high) / 0.04) * smoothstep((low - v) / 0.04) * _taper(u, 0.12)
        colour = colour + (0.6 * closing * inside)[..., None] * (lip + grain - colour)
    return np.asarray(colour)


def _seam(
    colour: Array, mouth: Mouth, u: Array, v: Array, top: Array, bottom: Array, open_by: Array, share: float
) -> Array:
    """Closed lips of a mouth that is open in the photo: lip colour over the rest of the gap, a darker line between."""
    line = 0.5 * (top + bottom)
    closed = (1 - smoothstep((open_by - 0.015) / 0.05)) * (1 - smoothstep(2 * open_by.max() / OPEN_GAP - 1))
    taper = _taper(u, 0.10)
    band = 0.055 + 0.24 * u * (1 - u) * min(max(mouth.gap - 0.2, 0.0) / 0.3, 1.0)  # wide open lips are thin lips
    fall = np.square(np.square((v - line) / np.maximum(band, 0.02)))  # a power of 4 takes ten times as long
    near = np.exp(-fall) * closed * taper * share * min(1.0, mouth.gap / 0.06)
    # What shows between the lips is there or hidden, not seen through them.
    between = np.clip(np.minimum(v - top, bottom - v) * mouth.width + 0.5, 0, 1)
    shown = 1 - between * smoothstep((open_by - 0.008) / 0.025)
    near, closed = near * shown, closed * shown
    side = smoothstep((v - line + 0.01) / 0.02)[..., None]
    lips = mouth.lips[0] * (1 - side) + mouth.lips[1] * side
    # Some of the skin's grain stays, but nothing of teeth that are lighter than the lips.
    lighter = smoothstep((colour - lips).max(-1) / 30)
    colour = colour + ((0.85 + 0.15 * lighter) * near)[..., None] * (lips - colour)
    dark = 0.42 * np.exp(-(((v - line) / 0.018) ** 2)) * closed * _taper(u, 0.25) * share
    return np.asarray(colour * (1 - dark * min(1.0, mouth.gap / 0.06))[..., None])
