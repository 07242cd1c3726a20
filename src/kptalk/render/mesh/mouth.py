"""The mouth: an interior that stays with the skull and the jaw while the lips open over it, and lips that close.

The mesh stretches whatever the photo shows between the lips. As soon as the lips differ from the photo's, that is
replaced: cavity, tongue and lower teeth move with the jaw, upper teeth with the skull, and if the photo shows the
person's own teeth they are laid on top. Where a mouth that is open in the photo closes, a seam in the colours of its
own lips hides the rest of the gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kptalk.face.topology import LIP_PAIRS
from kptalk.render.mesh import teeth
from kptalk.render.mesh.topology import pixels_in_frame, smoothstep
from kptalk.types import Array, Image

CORNERS = (78, 308)  # of the inner lips
UPPER_EDGE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)  # outer line of the upper lip, left to right
LOWER_EDGE = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
SEALED, AJAR = 0.03, 0.08  # lip gap in mouth widths: drawn as closed below, as it is above
OPEN = 0.2  # lip gap from which no part of the lips counts as closed
GAPING = 0.03  # lip gap of a photo from which its lips need a seam when they close
BEHIND = 0.16  # mouth widths from the lips to the teeth


@dataclass(frozen=True)
class Mouth:
    """The mouth of one photo.

    Attributes:
        origin, axes: plane of the teeth in the photo, 3-D pixels: (3,), (2, 3) a mouth width along and across.
        landmarks: (478, 3) of the photo.
        width: of the mouth in pixels.
        gap: of the photo's lips in mouth widths.
        upper, lower, tongue: (h, w, 4) textures, premultiplied.
        cavity: (3,) colour.
        own: (h, w, 4) the photo's own interior, premultiplied, or None; ``own_corner`` (2,) its place in the photo.
        lips: (2, 3) colours of the upper and the lower lip next to the line between them.
    """

    origin: Array
    axes: Array
    landmarks: Array
    width: float
    gap: float
    upper: Array
    lower: Array
    tongue: Array
    cavity: Array
    own: Array | None
    own_corner: Array
    lips: Array


def prepare_mouth(image: Image, landmarks: Array, closed: Array) -> Mouth:
    """Read the mouth from a photo (H, W, 3).

    Args:
        image: the photo.
        landmarks: (478, 3) pixels.
        closed: (478, 3) pixels: the same face in the same pose with closed lips.
    """
    along = closed[CORNERS[1]] - closed[CORNERS[0]]
    down = closed[152] - closed[10]
    down = down - along * (down @ along) / (along @ along)
    width = float(np.linalg.norm(along))
    down = down / np.linalg.norm(down) * width
    inwards = np.cross(along, down) / width**2
    # Middle of the closed lips, a little towards the corners' level: the corners may be drawn up by a smile.
    middle = 0.5 * (closed[13] + closed[14])
    side = 0.5 * (closed[CORNERS[0]] + closed[CORNERS[1]])
    origin = side + down * float((middle - side) @ down) / width**2 + inwards * BEHIND * width
    skin, lips, own_teeth = _colours(image, landmarks)
    gap = float(landmarks[14, 1] - landmarks[13, 1]) / width
    palette = _palette(skin, lips.mean(0), own_teeth)
    own, corner = _own(image, landmarks, width, gap, own_teeth is not None)
    return Mouth(
        origin=origin.astype(np.float32),
        axes=np.stack([along, down]).astype(np.float32),
        landmarks=landmarks,
        width=width,
        gap=gap,
        upper=teeth.upper_jaw(palette),
        lower=teeth.lower_jaw(palette),
        tongue=teeth.tongue(palette),
        cavity=palette.cavity,
        own=own,
        own_corner=corner,
        lips=lips,
    )


def _polygon(image: Image, points: Array) -> Array:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return mask.astype(bool)


def _inner(landmarks: Array) -> Array:
    """The inner lips as a loop (20, 2)."""
    upper = [CORNERS[0], *LIP_PAIRS[:, 0], CORNERS[1]]
    return landmarks[[*upper, *LIP_PAIRS[::-1, 1]], :2]


def _colours(image: Image, landmarks: Array) -> tuple[Array, Array, Array | None]:
    """Skin (3,), lips (2, 3), and the colour of the photo's own teeth (3,) if it shows them convincingly."""
    cheek = [50, 101, 118, 117, 123, 187, 205, 280, 330, 347, 346, 352, 411, 425]
    points = np.clip(np.rint(landmarks[cheek, :2]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    skin = np.percentile(image[points[:, 1], points[:, 0]].astype(np.float32), 60, axis=0)
    upper_outer = [39, 37, 0, 267, 269]
    lower_outer = [181, 84, 17, 314, 405]
    upper = _polygon(image, landmarks[[*upper_outer, 311, 312, 13, 82, 81], :2])
    lower = _polygon(image, landmarks[[*lower_outer, 402, 317, 14, 87, 178], :2])
    lips = np.stack([np.median(image[m], 0) if m.sum() > 4 else 0.7 * skin for m in (upper, lower)])
    inside = _polygon(image, _inner(landmarks))
    own = None
    width = np.linalg.norm(landmarks[CORNERS[1], :2] - landmarks[CORNERS[0], :2])
    if inside.sum() > 0.03 * width**2:
        pixels = image[inside].astype(np.float32)
        light = pixels.mean(1)
        # Teeth are brighter than the lips and hardly coloured; red gums and tongue are neither.
        pale = (pixels[:, 0] - pixels[:, 2]) < 0.45 * pixels[:, 0] + 4
        bright = (light > 1.12 * lips.mean()) & (light > 0.5 * skin.mean()) & pale
        if bright.mean() > 0.40:
            own = np.percentile(pixels[bright], 65, axis=0)
    return skin.astype(np.float32), lips.astype(np.float32), own


def _palette(skin: Array, lip: Array, own_teeth: Array | None) -> teeth.Palette:
    light = float(skin.mean())
    colourful = min(1.0, float(skin.max() - skin.min()) / (0.25 * max(float(skin.max()), 1)))
    if own_teeth is None:
        # Brighter than the skin, less so on bright skin; ivory, and less so where the photo has little colour.
        level = min(1.4 * light, 0.45 * light + 130, 240.0)
        tint = 0.82 * (1 - colourful * np.array([0, 0.02, 0.08])) + 0.18 * skin / max(light, 1)
        own_teeth = level * tint
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
    loop = _inner(landmarks)
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


def _line(points: Array) -> Array:
    points = points.copy()
    points[:, 0] = np.maximum.accumulate(points[:, 0] + 1e-4 * np.arange(len(points)))
    return points


def seal_lips(face: Array, landmarks: Array) -> Array:
    """Close lips that are nearly closed, (478, 3), unless they are the photo's own."""
    width = float(np.linalg.norm(face[CORNERS[1], :2] - face[CORNERS[0], :2]))
    gap = float(np.linalg.norm(face[14, :2] - face[13, :2])) / max(width, 1e-3)
    own = float(
        np.linalg.norm(landmarks[14, :2] - landmarks[13, :2])
        / np.linalg.norm(landmarks[CORNERS[1], :2] - landmarks[CORNERS[0], :2])
    )
    if gap >= AJAR or own < SEALED:
        return face
    kept = max(0.0, AJAR * (gap - SEALED) / (AJAR - SEALED)) / max(gap, 1e-3)
    differs = float(smoothstep((own - gap) / (0.4 * own)))
    kept = 1 + differs * (kept - 1)
    face = face.copy()
    upper, lower = LIP_PAIRS[:, 0], LIP_PAIRS[:, 1]
    middle, half = 0.5 * (face[upper] + face[lower]), 0.5 * kept * (face[lower] - face[upper])
    face[upper], face[lower] = middle - half, middle + half
    return face


def draw_mouth(frame: Image, mouth: Mouth, face: Array, matrix: Array, offset: Array) -> None:
    """Draw the inside of the mouth and the closed lips' seam into a warped frame, in place.

    Args:
        frame: (H, W, 3) the warped photo.
        mouth: of the photo.
        face: (478, 3) pixels of the frame.
        matrix: (3, 3), offset (3,): rigid motion of the head, q -> q @ matrix + offset in pixels.
        offset: see ``matrix``.
    """
    a, b = face[CORNERS[0], :2], face[CORNERS[1], :2]
    along = b - a
    width = float(np.linalg.norm(along))
    if width < 4:
        return
    across = np.array([-along[1], along[0]], np.float32)
    to = np.linalg.inv(np.stack([along, across]).astype(np.float64)).astype(np.float32)
    rigid = mouth.landmarks @ matrix + offset
    upper = _line((face[[CORNERS[0], *LIP_PAIRS[:, 0], CORNERS[1]], :2] - a) @ to)
    lower = _line((face[[CORNERS[0], *LIP_PAIRS[:, 1], CORNERS[1]], :2] - a) @ to)
    inner = [*CORNERS, *LIP_PAIRS.ravel()]
    away = np.linalg.norm(face[inner, :2] - rigid[inner, :2], axis=1).max() / width
    share = float(smoothstep((away - 0.015) / 0.06))
    if share == 0:
        return
    outer = [_line((face[list(line), :2] - a) @ to) for line in (UPPER_EDGE, LOWER_EDGE)]
    # The lips themselves are drawn only where they close a mouth that is open in the photo.
    redrawn = mouth.gap > GAPING
    loop = np.concatenate([upper, lower, *outer] if redrawn else [upper, lower]) @ np.stack([along, across]) + a
    pad = 0.12 * width if redrawn else 2
    x0, y0 = np.maximum(np.floor(loop.min(0) - pad).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(loop.max(0) + pad).astype(int) + 1, [frame.shape[1], frame.shape[0]])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    patch = frame[y0:y1, x0:x1]
    u, v = pixels_in_frame((x0, y0, x1, y1), a, along, across)
    top = np.interp(u, upper[:, 0], upper[:, 1]).astype(np.float32)
    bottom = np.interp(u, lower[:, 0], lower[:, 1]).astype(np.float32)
    open_by = np.maximum(bottom - top, 0)
    pixel = 1 / width
    colour = patch.astype(np.float32)

    widest = float((lower[:, 1] - upper[:, 1]).max())
    if widest > 0.008:
        inside = _interior(mouth, face, matrix, offset, (x0, y0, x1, y1))
        from_top, from_bottom = (v - top) / pixel, (bottom - v) / pixel
        mask = (
            smoothstep((from_top + 1) / 2) * smoothstep((from_bottom + 1) / 2) * smoothstep(np.minimum(u, 1 - u) / 0.05)
        )
        mask = mask * float(smoothstep((widest - 0.008) / 0.02))
        # Lips throw a soft shadow on what is behind them, the upper one more.
        shade = (
            1 - 0.36 * np.exp(-np.clip(v - top, 0, None) / 0.045) - 0.20 * np.exp(-np.clip(bottom - v, 0, None) / 0.03)
        )
        shade = (shade * (0.2 + 0.8 * smoothstep((open_by - 0.01) / 0.1)))[..., None]
        inside = inside * shade + (1 - shade) * 0.45 * mouth.lips.mean(0)  # the shadow is as red as the lips
        colour = colour + (share * mask)[..., None] * (inside - colour)
    if mouth.gap > OPEN:
        edges = [np.interp(u, line[:, 0], line[:, 1]).astype(np.float32) for line in outer]
        colour = _lips(colour, mouth, u, v, (edges[0], top, bottom, edges[1]), widest)
    if redrawn and widest < OPEN:
        colour = _seam(colour, mouth, u, v, top, bottom, open_by, share)
    patch[...] = np.clip(np.rint(colour), 0, 255).astype(np.uint8)


def _interior(mouth: Mouth, face: Array, matrix: Array, offset: Array, box: tuple[int, int, int, int]) -> Array:
    """Cavity, jaws and own teeth for the pixels of ``box`` (x0, y0, x1, y1), (h, w, 3) float32."""
    x0, y0, x1, y1 = box
    size = (int(x1 - x0), int(y1 - y0))
    origin = (mouth.origin @ matrix + offset)[:2] - np.array([x0, y0], np.float32)
    axes = (mouth.axes @ matrix)[:, :2]
    down = axes[1] / max(float(axes[1] @ axes[1]), 1e-6)
    lip_up, lip_low = ((face[[13, 14], :2] - (mouth.origin @ matrix + offset)[:2]) @ down).tolist()
    wide = float(np.clip(lip_low - lip_up, 0, 0.5))
    # Upper teeth stay with the skull as long as the lip shows a natural part of them; the lower ones peep over the lip.
    upper_edge = float(np.clip(teeth.INCISAL, lip_up + 0.04 + 0.1 * wide, lip_up + 0.06 + 0.25 * wide))
    lower_edge = max(lip_low - 0.045, upper_edge + 0.01)
    inside = np.broadcast_to(mouth.cavity, (size[1], size[0], 3)).astype(np.float32)
    tongue = lip_low - 0.05 - 0.42 * max(wide - 0.08, 0)
    for texture, move in (
        (mouth.tongue, max(tongue, upper_edge + 0.03)),
        (mouth.lower, lower_edge - teeth.LOWER_EDGE),
        (mouth.upper, upper_edge - teeth.INCISAL),
    ):
        shift = move * axes[1]
        # Texture pixels to box pixels.
        steps = axes / teeth.TEXELS
        start = origin + shift + np.array([0.5 / teeth.TEXELS - teeth.HALF, 0.5 / teeth.TEXELS + teeth.TOP]) @ axes
        transform = np.column_stack([steps.T, start]).astype(np.float32)
        layer = cv2.warpAffine(texture, transform, size, flags=cv2.INTER_LINEAR)
        inside = inside * (1 - layer[..., 3:]) + layer[..., :3]
    if mouth.own is not None:
        depth = mouth.origin[2]
        linear = matrix[:2, :2].T
        start = np.array([*mouth.own_corner, depth]) @ matrix[:, :2] + offset[:2] - np.array([x0, y0])
        # The plane of the teeth is taken as facing the camera in the photo: z is the same everywhere.
        layer = cv2.warpAffine(
            mouth.own, np.column_stack([linear, start]).astype(np.float32), size, flags=cv2.INTER_LINEAR
        )
        inside = inside * (1 - layer[..., 3:]) + layer[..., :3]
    return np.asarray(inside, np.float32)


def _lips(
    colour: Array, mouth: Mouth, u: Array, v: Array, lines: tuple[Array, Array, Array, Array], widest: float
) -> Array:
    """Lips that are stretched thin around a wide open mouth get their colour where they become full again.

    ``lines`` are the outer and inner line of the upper lip, then the inner and outer one of the lower.
    """
    closing = smoothstep((mouth.gap - widest) / mouth.gap) * min((mouth.gap - OPEN) / 0.15, 1.0)
    grain = colour - cv2.GaussianBlur(colour, (0, 0), 0.05 * mouth.width)
    for lip, (high, low) in zip(mouth.lips, (lines[:2], lines[2:]), strict=True):
        soft = 0.04
        inside = smoothstep((v - high) / soft) * smoothstep((low - v) / soft) * smoothstep(np.minimum(u, 1 - u) / 0.12)
        colour = colour + (0.6 * closing * inside)[..., None] * (lip + grain - colour)
    return np.asarray(colour)


def _seam(
    colour: Array, mouth: Mouth, u: Array, v: Array, top: Array, bottom: Array, open_by: Array, share: float
) -> Array:
    """Closed lips of a mouth that is open in the photo: lip colour over the rest of the gap, a darker line between."""
    line = 0.5 * (top + bottom)
    closed = (1 - smoothstep((open_by - 0.015) / 0.05)) * (1 - smoothstep(2 * open_by.max() / OPEN - 1))
    taper = smoothstep(np.minimum(u, 1 - u) / 0.10)
    band = 0.055 + 0.24 * u * (1 - u) * min(max(mouth.gap - 0.2, 0.0) / 0.3, 1.0)  # wide open lips are thin lips
    near = np.exp(-(((v - line) / np.maximum(band, 0.02)) ** 4)) * closed * taper * share * min(1.0, mouth.gap / 0.06)
    # What shows between the lips is there or hidden, not seen through them.
    between = np.clip(np.minimum(v - top, bottom - v) * mouth.width + 0.5, 0, 1)
    shown = 1 - between * smoothstep((open_by - 0.008) / 0.025)
    near, closed = near * shown, closed * shown
    side = smoothstep((v - line + 0.01) / 0.02)[..., None]
    lips = mouth.lips[0] * (1 - side) + mouth.lips[1] * side
    # Some of the skin's grain stays, but nothing of teeth that are lighter than the lips.
    lighter = smoothstep((colour - lips).max(-1) / 30)
    colour = colour + ((0.85 + 0.15 * lighter) * near)[..., None] * (lips - colour)
    dark = 0.42 * np.exp(-(((v - line) / 0.018) ** 2)) * closed * smoothstep(np.minimum(u, 1 - u) / 0.25) * share
    return np.asarray(colour * (1 - dark * min(1.0, mouth.gap / 0.06))[..., None])
