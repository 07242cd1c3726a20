"""Rotations in LivePortrait's convention (degrees, matrices for row vectors), alignment of points, squares, easing."""

from collections.abc import Sequence

import numpy as np

from kptalk.types import Array, Floats


def rotation_matrix(angles: Floats) -> Floats:
    """(..., 3) yaw, pitch, roll in degrees to (..., 3, 3) matrices R for row vectors: ``x @ R``.

    R = (Rz(roll) Ry(yaw) Rx(pitch))^T, as in LivePortrait and KDTalker.
    """
    radians = np.moveaxis(np.radians(angles), -1, 0)
    (cy, cp, cr), (sy, sp, sr) = np.cos(radians), np.sin(radians)
    rows = [cr * cy, sr * cy, -sy]
    rows += [cr * sy * sp - sr * cp, sr * sy * sp + cr * cp, cy * sp]
    rows += [cr * sy * cp + sr * sp, sr * sy * cp - cr * sp, cy * cp]
    return np.asarray(np.stack(rows, -1).reshape(*angles.shape[:-1], 3, 3))


def rotation_angles(matrix: Floats) -> Floats:
    """(..., 3, 3) matrices for row vectors to (..., 3) yaw, pitch, roll in degrees; the inverse for |yaw| < 90."""
    m = np.swapaxes(matrix, -1, -2)
    yaw = np.arcsin(np.clip(-m[..., 2, 0], -1, 1))
    pitch = np.arctan2(m[..., 2, 1], m[..., 2, 2])
    roll = np.arctan2(m[..., 1, 0], m[..., 0, 0])
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], -1)))


def align(points: Floats, template: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Weighted Procrustes: the similarity that takes a template to each set of points.

    Minimises sum_i w_i |points_i - (scale * template_i @ R + translation)|^2 (Umeyama 1991).

    Args:
        points: (T, N, 3).
        template: (N, 3).
        weights: (N,), not negative.

    Returns:
        scale (T,), R (T, 3, 3) for row vectors, translation (T, 3).
    """
    w = weights / weights.sum()
    centre_p = np.einsum("n,tnd->td", w, points)
    centre_t = w @ template
    p, t = points - centre_p[:, None], template - centre_t
    u, singular, vt = np.linalg.svd(np.einsum("n,nd,tne->tde", w, t, p))
    mirror = np.ones_like(singular)
    mirror[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * mirror[:, None]) @ vt
    scale = (singular * mirror).sum(1) / (w @ (t**2).sum(1))
    translation = centre_p - scale[:, None] * np.einsum("d,tde->te", centre_t, rotation)
    return scale, rotation, translation


def smoothstep(x: Floats | float) -> Floats:
    """0 below 0, 1 above 1, smooth between (3 x^2 - 2 x^3), elementwise; of x's dtype."""
    share: Floats = np.clip(x, 0, 1)
    return share * share * (3 - 2 * share)


def square_around(box: Sequence[float] | Array, scale: float = 1.0) -> tuple[float, float, float]:
    """The square about the middle of a box (x0, y0, x1, y1), ``scale`` times its longer side: middle x and y, side."""
    x0, y0, x1, y1 = map(float, box)
    return (x0 + x1) / 2, (y0 + y1) / 2, scale * max(x1 - x0, y1 - y0)
