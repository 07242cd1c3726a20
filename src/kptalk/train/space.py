"""Fits the motion space ``facemesh`` on tracked clips: template, 21 control points, decoder, and the directions that
control needs (blink, gaze, lips).

Steps: (1) one mirror-symmetric template by alternating Procrustes and means; (2) a neutral mesh a clip, from its frames
with closed lips and open eyes; (3) weighted PCA of what is left; (4) the change of basis to 21 vertices, chosen by
greedy block-pivoted QR so that the change is well conditioned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kptalk.errors import DatasetError
from kptalk.face.geometry import align, rotation_angles
from kptalk.face.topology import (
    EYE_CORNERS,
    HALF_STABLE,
    IRISES,
    LID_PAIRS,
    LIPS_INNER,
    LIPS_OUTER,
    STABLE,
    gaze,
    lid_opening,
    lip_opening,
)
from kptalk.motion.facemesh.space import EYE_TO_PIVOT
from kptalk.types import N_KEYPOINTS, Array

Indices = NDArray[np.int64]

N_COMPONENTS = 3 * N_KEYPOINTS
FEWEST_FRAMES = 200  # fewer do not span the components
FRAMES_A_CLIP = 80  # so that a long clip of one person does not decide the basis
PART_WEIGHTS = ((np.concatenate([LIPS_OUTER, LIPS_INNER]), 3.0), (LID_PAIRS.ravel(), 4.0), (IRISES.ravel(), 3.0))


@dataclass(frozen=True)
class AlignedClip:
    """One clip in the head's frame.

    ``meshes`` (T, 478, 3) in face units, ``neutral`` (478, 3), pose of every frame in pixels: ``scale`` (T,),
    ``rotation`` (T, 3, 3) for row vectors, ``translation`` (T, 3).
    """

    meshes: Array
    neutral: Array
    scale: Array
    rotation: Array
    translation: Array


def fit_template(clips: Sequence[Array], rounds: int = 6) -> Array:
    """Mean neutral mesh (478, 3) of clips (T, 478, 3): symmetric, eyes 1 apart, origin at the neck pivot."""
    samples = np.concatenate([clip[:: max(1, len(clip) // 12)] for clip in clips]).astype(np.float64)
    template = _normalised(samples[0] - samples[0].mean(0))
    for _ in range(rounds):
        template = _aligned(samples, template)[0].mean(0)
        mirror = mirror_indices(template)
        template = _symmetric(template, mirror)
    meshes = np.concatenate([_aligned(clip.astype(np.float64), template)[0] for clip in clips])
    return _symmetric(neutral_mesh(meshes), mirror)


def align_clip(landmarks: Array, template: Array) -> AlignedClip:
    """Take the pose out of one clip (T, 478, 3) and find its neutral mesh: the median of frames with closed lips."""
    meshes, scale, rotation, translation = _aligned(landmarks.astype(np.float64), template)
    return AlignedClip(meshes, neutral_mesh(meshes), scale, rotation, translation)


def neutral_mesh(meshes: Array) -> Array:
    """Median of the frames with the most closed lips and open eyes, (T, 478, 3) to (478, 3)."""
    gap, lids = lip_opening(meshes), lid_opening(meshes).mean(-1)
    open_eyes = lids > 0.85 * np.median(lids)
    closed = gap <= max(0.02, np.quantile(gap[open_eyes], 0.1))
    neutral: Array = np.median(meshes[closed & open_eyes], 0)
    return neutral


def fit_space(clips: Sequence[AlignedClip], template: Array) -> dict[str, Array]:
    """Tensors of ``kptalk.motion.facemesh.space.FaceMeshSpace`` from aligned clips.

    Raises:
        DatasetError: too few frames.
    """
    frames = [np.linspace(0, len(c.meshes) - 1, min(len(c.meshes), FRAMES_A_CLIP)).astype(int) for c in clips]
    if sum(map(len, frames)) < FEWEST_FRAMES:
        raise DatasetError(
            f"{sum(map(len, frames))} frames of {len(clips)} clips ({FRAMES_A_CLIP} of a clip at most) are too few, "
            f"the motion space needs {FEWEST_FRAMES}: prepare more videos"
        )
    residual = np.concatenate([c.meshes[f] - c.neutral for c, f in zip(clips, frames, strict=True)])
    mesh = np.concatenate([c.meshes[f] for c, f in zip(clips, frames, strict=True)])
    mirror = mirror_indices(mesh.mean(0))
    both = np.concatenate([residual, mirrored(residual, mirror)]).reshape(2 * len(residual), -1)

    weights = np.ones((len(template), 1))
    for part, weight in PART_WEIGHTS:
        weights[part] = weight
    weights = np.repeat(weights, 3, 1).ravel()  # applied to displacements, so squared in the error
    values, vectors = np.linalg.eigh((both * weights).T @ (both * weights) / len(both))
    std = np.sqrt(values[::-1][:N_COMPONENTS])
    components = vectors[:, ::-1][:, :N_COMPONENTS]  # (1434, 63)
    components = components * np.sign(components[np.abs(components).argmax(0), range(N_COMPONENTS)])  # eigh's is any
    basis = (components / weights[:, None]).T  # (63, 1434) coordinates to displacements
    project = weights[:, None] * components  # (1434, 63) displacements to coordinates

    control = _pivot_vertices(basis * std[:, None])
    at_control = basis.reshape(N_COMPONENTS, -1, 3)[:, control].reshape(N_COMPONENTS, N_COMPONENTS)
    to_control = np.linalg.inv(at_control)

    closed = 1 - lid_opening(mesh).mean(-1) / np.concatenate(
        [np.full(len(f), lid_opening(c.neutral).mean()) for c, f in zip(clips, frames, strict=True)]
    )
    look = gaze(mesh) - np.concatenate(
        [np.tile(gaze(c.neutral), (len(f), 1)) for c, f in zip(clips, frames, strict=True)]
    )
    gap = lip_opening(mesh)
    encoded = residual.reshape(len(residual), -1) @ project @ at_control
    factors = np.column_stack([closed, look, gap, np.ones(len(gap))])
    directions = np.linalg.lstsq(factors, encoded, rcond=None)[0]
    # What a single picture is asked for: the expression without blink and gaze, which stay as they are in the photo.
    lasting = encoded - factors[:, :3] @ directions[:3]

    canonical = np.stack([c.neutral[control].ravel() for c in clips])
    poses = np.concatenate([relative_pose(c) for c in clips])
    eyes = np.concatenate([LID_PAIRS.ravel(), IRISES.ravel()])
    tensors = {
        "template": template,
        "decoder": to_control @ basis,
        "encoder": project @ at_control,
        "control": control.astype(np.float64),
        "whiten": to_control / std,
        "unwhiten": std[:, None] * at_control,
        "whiten_std": std,
        "pose_std": poses.std(0),
        "canonical_mean": canonical.mean(0),
        "canonical_std": canonical.std(0),
        "blink": _only(directions[0], eyes, to_control @ basis, project @ at_control),
        "gaze": np.stack([_only(d, eyes, to_control @ basis, project @ at_control) for d in directions[1:3]]),
        "open_lips": directions[3],
        "shape_to_expression": _shape_regression((mesh - template).reshape(len(mesh), -1), lasting),
        "mirror": mirror.astype(np.float64),
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def relative_pose(clip: AlignedClip) -> Array:
    """Pose of every frame against the clip's median, (T, 7): scale, yaw, pitch, roll, translation in face units."""
    unit, origin = np.median(clip.scale), np.median(clip.translation, 0)
    angles = rotation_angles(clip.rotation)
    scale = clip.scale[:, None] / unit
    return np.concatenate([scale - 1, angles - np.median(angles, 0), (clip.translation - origin) / unit], 1)


def mirror_indices(mesh: Array) -> Indices:
    """For every vertex the one on the other side of the face, (478,); the lips must be open, or they are confused.

    Vertices are matched one to one: an iris may be nearer to a lid than to the other iris.
    """
    flipped = mesh * np.array([-1, 1, 1])
    matched: Indices = linear_sum_assignment(np.linalg.norm(mesh[:, None] - flipped[None], axis=-1))[1]
    return matched


def mirrored(displacement: Array, mirror: Indices) -> Array:
    """Displacements (..., 478, 3) of the mirror image of the face."""
    flipped: Array = displacement[..., mirror, :] * np.array([-1, 1, 1])
    return flipped


def _aligned(landmarks: Array, template: Array) -> tuple[Array, Array, Array, Array]:
    stable = np.concatenate([STABLE, HALF_STABLE])
    weights = np.concatenate([np.ones(len(STABLE)), np.full(len(HALF_STABLE), 0.5)])
    scale, rotation, translation = align(landmarks[:, stable], template[stable], weights)
    meshes = (landmarks - translation[:, None]) / scale[:, None, None] @ np.swapaxes(rotation, -1, -2)
    return meshes, scale, rotation, translation


def _normalised(mesh: Array) -> Array:
    eyes = mesh[EYE_CORNERS].mean(1)
    normalised: Array = (mesh - eyes.mean(0)) / np.linalg.norm(eyes[1] - eyes[0]) - EYE_TO_PIVOT
    return normalised


def _symmetric(mesh: Array, mirror: Indices) -> Array:
    """Average with the mirror image, upright and facing the camera."""
    axis = np.concatenate([mesh[EYE_CORNERS[1]] - mesh[EYE_CORNERS[0][::-1]]]).mean(0)
    axis /= np.linalg.norm(axis)
    down = mesh[152] - mesh[10]
    down = down - axis * (down @ axis)
    down /= np.linalg.norm(down)
    mesh = _normalised(mesh @ np.stack([axis, down, np.cross(axis, down)], 1))
    return _normalised((mesh + mirrored(mesh, mirror)) / 2)


def _pivot_vertices(basis: Array) -> Indices:
    """21 vertices of (63, 1434) by greedy block-pivoted QR: each adds the largest volume not yet spanned."""
    blocks = basis.reshape(len(basis), -1, 3).transpose(1, 0, 2).copy()  # (478, 63, 3)
    chosen: list[int] = []
    for _ in range(N_KEYPOINTS):
        volume = np.linalg.det(np.einsum("vka,vkb->vab", blocks, blocks))
        volume[chosen] = -1
        best = int(volume.argmax())
        chosen.append(best)
        q = np.linalg.qr(blocks[best])[0]
        blocks -= np.einsum("ka,vab->vkb", q, np.einsum("ka,vkb->vab", q, blocks))
    return np.array(sorted(chosen))


def _only(direction: Array, part: Array, decoder: Array, encoder: Array) -> Array:
    """A direction (63,) with what it does outside some vertices taken away, as far as the basis can."""
    mesh = (direction @ decoder).reshape(-1, 3)
    kept = np.zeros_like(mesh)
    kept[part] = mesh[part]
    return kept.ravel() @ encoder


def _shape_regression(shape: Array, expression: Array, components: int = 40, ridge: float = 1e-2) -> Array:
    """Expression from a mesh less the template, (1434 + 1, 63): ridge on the shape's principal components."""
    mean = shape.mean(0)
    _, _, directions = np.linalg.svd(shape[::5] - mean, full_matrices=False)
    directions = directions[:components].T
    features = (shape - mean) @ directions
    gram = features.T @ features / len(features)
    solved = np.linalg.solve(
        gram + ridge * np.trace(gram) / components * np.eye(components), features.T @ expression / len(features)
    )
    matrix = directions @ solved
    return np.concatenate([matrix, (expression.mean(0) - mean @ matrix)[None]])
