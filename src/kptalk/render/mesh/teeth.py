"""What is inside a mouth, painted once for a portrait: upper teeth, lower teeth, tongue.

Lengths are in mouth widths. The textures are planes behind the lips: x from -HALF to HALF, y from TOP downwards,
y = 0 at the line of the closed lips.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kptalk.face.geometry import smoothstep
from kptalk.types import Array, Floats

HALF, TOP, BOTTOM = 0.62, -0.34, 0.56
TEXELS = 220  # a mouth width
UPPER_WIDTHS = (0.150, 0.118, 0.125, 0.092, 0.075, 0.055)
LOWER_WIDTHS = (0.095, 0.100, 0.105, 0.085, 0.075, 0.055)
INCISAL = 0.055  # of the upper teeth's edge below the line of the closed lips
LOWER_EDGE = 0.055  # of the lower teeth's edge below that line, when the jaw is closed


@dataclass(frozen=True)
class Palette:
    """Colours of one mouth, (3,) float32 RGB."""

    teeth: Array
    cavity: Array
    tongue: Array
    gum: Array


def textures(palette: Palette) -> tuple[Array, Array, Array]:
    """Upper teeth with the gum above them, lower teeth, tongue: each (h, w, 4) float32, premultiplied."""
    upper, lower = _row(UPPER_WIDTHS, INCISAL, -1, palette), _row(LOWER_WIDTHS, LOWER_EDGE, 1, palette)
    return upper, lower, _tongue(palette)


def _tongue(palette: Palette) -> Array:
    """Its highest point is at y = 0."""
    x, y = _grid()
    arch = np.clip(1 - (x / 0.36) ** 2, 0, None)
    height = y - 0.16 * (1 - np.sqrt(arch))  # below the outline
    alpha = smoothstep(height / 0.10) * smoothstep(arch / 0.3)
    gloss = np.exp(-(((height - 0.10) / 0.06) ** 2)) * arch * 0.10
    groove = 1 - 0.12 * np.exp(-((x / 0.03) ** 2)) * smoothstep(height / 0.1)
    depth = 0.50 + 0.50 * smoothstep(height / 0.20)
    return _finish(palette.tongue * (depth * groove + gloss)[..., None], alpha)


def _grid() -> tuple[Floats, Floats]:
    columns, rows = round(2 * HALF * TEXELS), round((BOTTOM - TOP) * TEXELS)
    x = (np.arange(columns, dtype=np.float32) + 0.5) / TEXELS - HALF
    y = (np.arange(rows, dtype=np.float32) + 0.5) / TEXELS + TOP
    x, y = np.meshgrid(x, y)
    return x, y


def _row(widths: tuple[float, ...], edge: float, away: int, palette: Palette) -> Array:
    """A row of teeth with its gum; ``away`` is -1 where the gum is above the edge, 1 where it is below."""
    x, y = _grid()
    ends = np.concatenate([[0], np.cumsum(widths)])
    distance = np.abs(x)
    number = np.clip(np.searchsorted(ends, distance, side="right") - 1, 0, len(widths) - 1)
    left, width = ends[number], np.asarray(widths)[number]
    within = np.clip((distance - left) / width, 0, 1)  # 0 at the inner side of the tooth
    # The row is an arch: seen from the front the edge rises towards the back teeth, and the light fails there.
    arch = 0.075 * (distance / 0.5) ** 2
    lateral = np.array([0.0, 0.012, -0.002, 0.008, 0.014, 0.018])[number] * (1.0 if away < 0 else 0.4)
    rounded = 0.018 * np.abs(2 * within - 1) ** 4
    height = (edge + away * (arch + lateral + rounded) - y) * -away  # distance from the edge into the tooth
    teeth = smoothstep(height / 0.014 + 0.5).astype(np.float32)
    gum_at = (0.20 if away < 0 else 0.155) - 0.25 * arch - 0.035 * np.abs(2 * within - 1) ** 2
    gum = smoothstep((height - gum_at) / 0.02 + 0.5).astype(np.float32)
    body = 1 - 0.10 * np.abs(2 * within - 1) ** 3  # each tooth is a little round
    gap = 1 - 0.20 * np.exp(-((np.minimum(within, 1 - within) * width / 0.007) ** 2))
    translucent = 1 - 0.10 * np.exp(-height / 0.03)
    depth = 0.38 + 0.62 * np.sqrt(np.clip(1 - (distance / 0.60) ** 2, 0, 1))
    shade = (body * gap * translucent * depth)[..., None]
    rgb = palette.teeth * shade
    rgb = rgb + gum[..., None] * (palette.gum * depth[..., None] * 0.85 - rgb)
    alpha = teeth * (distance < ends[-1]) * smoothstep((ends[-1] - distance) / 0.05).astype(np.float32)
    return _finish(rgb.astype(np.float32), alpha.astype(np.float32))


def _finish(rgb: Floats, alpha: Floats) -> Array:
    layer = np.dstack([rgb * alpha[..., None], alpha])
    return np.asarray(cv2.GaussianBlur(layer.astype(np.float32), (0, 0), 0.8), np.float32)
