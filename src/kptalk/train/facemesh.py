"""Recipe of the motion space ``facemesh``: template, 21 control points, decoder, and the directions that control needs
(blink, gaze, lips), fitted in closed form on tracked clips.

Steps: (1) one mirror-symmetric template by alternating Procrustes and means; (2) a neutral mesh a clip, from its frames
with closed lips and open eyes; (3) weighted PCA of what is left; (4) the change of basis to 21 vertices, chosen by
greedy block-pivoted QR so that the change is well conditioned.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as serialise
from scipy.optimize import linear_sum_assignment

from kptalk.errors import DatasetError
from kptalk.face.geometry import rotation_angles
from kptalk.face.measures import gaze, lid_opening, lip_opening
from kptalk.face.topology import EYE_CORNERS, IRISES, LID_PAIRS, LIPS_INNER, LIPS_OUTER
from kptalk.files import write_bytes
from kptalk.motion.facemesh.space import EYE_TO_PIVOT, FaceMeshSpace, head_pose, neutral_mesh
from kptalk.motion.filters import savgol
from kptalk.motion.generator import FPS
from kptalk.train.data import SHORTEST, Inputs, TrainingClip, save_clips
from kptalk.train.dataset import Dataset, TrackedClip
from kptalk.train.lag import in_step, load_judge
from kptalk.types import N_KEYPOINTS, Array, Floats

Indices = NDArray[np.int64]

FEWEST_FRAMES = 200  # fewer do not span the components
MOST_CLIPS = 1500  # what the space is fitted to, for they are in memory
FRAMES_A_CLIP = 80  # so that a long clip of one person does not decide the basis
PART_WEIGHTS = ((np.concatenate([LIPS_OUTER, LIPS_INNER]), 3.0), (LID_PAIRS.ravel(), 4.0), (IRISES.ravel(), 3.0))


@dataclass(frozen=True)
class AlignedClip:
    """One clip in the head's frame: ``meshes`` (T, 478, 3) in face units.

    Pose of every frame in pixels: ``scale`` (T,), ``rotation`` (T, 3, 3) for row vectors, ``translation`` (T, 3).
    """

    meshes: Floats
    scale: Array
    rotation: Array
    translation: Array

    @cached_property
    def neutral(self) -> Array:
        """The neutral mesh (478, 3): the median of frames with closed lips."""
        return neutral_mesh(self.meshes)


def data(inputs: Inputs) -> list[TrackedClip]:
    """The dataset's clips, or ``MOST_CLIPS`` of them, spread over all."""
    dataset = Dataset.open(inputs.data)
    return [dataset.load(entry) for entry in dataset.clips[:: -(-len(dataset) // MOST_CLIPS)]]


def build(clips: list[TrackedClip]) -> dict[str, Array]:
    """Tensors of the motion space."""
    template = fit_template([clip.landmarks for clip in clips])
    return fit_space([align_clip(clip.landmarks, template) for clip in clips], template)


def save(path: Path, tensors: dict[str, Array], clips: list[TrackedClip]) -> None:
    """Write the space, and the clips as its tokens to ``clips.safetensors`` beside it."""
    write_bytes(path, serialise(tensors))
    space = FaceMeshSpace(tensors)
    save_clips(training_clips(space, clips), path.with_name("clips.safetensors"))


def fit_template(clips: Sequence[Array], rounds: int = 6) -> Array:
    """Mean neutral mesh (478, 3) of clips (T, 478, 3): symmetric, eyes 1 apart, origin at the neck pivot."""
    samples = np.concatenate([clip[:: max(1, len(clip) // 12)] for clip in clips]).astype(np.float64)
    template = _normalised(samples[0] - samples[0].mean(0))
    for _ in range(rounds):
        template = align_clip(samples, template).meshes.mean(0)
        mirror = mirror_indices(template)
        template = _symmetric(template, mirror)
    meshes = np.concatenate([align_clip(clip, template).meshes for clip in clips])
    return _symmetric(neutral_mesh(meshes), mirror)


def align_clip(landmarks: Floats, template: Array) -> AlignedClip:
    """Take the pose out of one clip (T, 478, 3)."""
    landmarks = landmarks.astype(np.float64)
    scale, rotation, translation = head_pose(landmarks, template)
    meshes = (landmarks - translation[:, None]) / scale[:, None, None] @ np.swapaxes(rotation, -1, -2)
    return AlignedClip(meshes, scale, rotation, translation)


def fit_space(clips: Sequence[AlignedClip], template: Array, keypoints: int = N_KEYPOINTS) -> dict[str, Array]:
    """Tensors of ``kptalk.motion.facemesh.space.FaceMeshSpace`` from aligned clips; ``keypoints`` control points.

    Raises:
        DatasetError: too few frames.
    """
    n = 3 * keypoints
    frames = [np.linspace(0, len(c.meshes) - 1, min(len(c.meshes), FRAMES_A_CLIP)).astype(int) for c in clips]
    if sum(map(len, frames)) < FEWEST_FRAMES:
        raise DatasetError(
            f"{sum(map(len, frames))} frames of {len(clips)} clips are too few: the motion space needs {FEWEST_FRAMES} "
            f"in all, a clip counts for {FRAMES_A_CLIP} at most and has {SHORTEST} at least; prepare more videos"
        )
    mesh = np.concatenate([c.meshes[f] for c, f in zip(clips, frames, strict=True)])
    neutral = np.concatenate([np.repeat(c.neutral[None], len(f), 0) for c, f in zip(clips, frames, strict=True)])
    residual = mesh - neutral
    mirror = mirror_indices(mesh.mean(0))
    both = np.concatenate([residual, mirrored(residual, mirror)]).reshape(2 * len(residual), -1)

    weights = np.ones(len(template))
    for part, weight in PART_WEIGHTS:
        weights[part] = weight
    weights = np.repeat(weights, 3)  # applied to displacements, so squared in the error
    values, vectors = np.linalg.eigh((both * weights).T @ (both * weights) / len(both))
    std = np.sqrt(values[::-1][:n])
    components = vectors[:, ::-1][:, :n]  # (1434, 63)
    components = components * np.sign(components[np.abs(components).argmax(0), range(n)])  # eigh's is any
    basis = (components / weights[:, None]).T  # (63, 1434) coordinates to displacements
    project = weights[:, None] * components  # (1434, 63) displacements to coordinates

    control = _pivot_vertices(basis * std[:, None], keypoints)
    at_control = basis.reshape(n, -1, 3)[:, control].reshape(n, n)
    to_control = np.linalg.inv(at_control)
    decoder, encoder = to_control @ basis, project @ at_control

    closed = 1 - lid_opening(mesh).mean(-1) / lid_opening(neutral).mean(-1)
    look, gap = gaze(mesh) - gaze(neutral), lip_opening(mesh)
    encoded = residual.reshape(len(residual), -1) @ encoder
    factors = np.column_stack([closed, look, gap, np.ones(len(gap))])
    directions = np.linalg.lstsq(factors, encoded, rcond=None)[0]
    # What is estimated from a single picture: the expression without blink and gaze, which stay as in the photo.
    lasting = encoded - factors[:, :3] @ directions[:3]

    canonical = np.stack([c.neutral[control].ravel() for c in clips])
    poses = np.concatenate([relative_pose(c) for c in clips])
    eyes = np.concatenate([LID_PAIRS.ravel(), IRISES.ravel()])
    blink, right, down = (_only(direction, eyes, decoder, encoder) for direction in directions[:3])
    tensors = {
        "template": template,
        "decoder": decoder,
        "encoder": encoder,
        "control": control.astype(np.float64),
        "whiten": to_control / std,
        "unwhiten": std[:, None] * at_control,
        "whiten_std": std,
        "pose_std": poses.std(0),
        "canonical_mean": canonical.mean(0),
        "canonical_std": canonical.std(0),
        "blink": blink,
        "gaze": np.stack([right, down]),
        "open_lips": directions[3],
        "shape_to_expression": _shape_regression((mesh - template).reshape(len(mesh), -1), lasting),
        "mirror": mirror.astype(np.float64),
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def training_clip(space: FaceMeshSpace, clip: TrackedClip) -> TrainingClip:
    """Tokens and mel of one clip, in step.

    Blinks and gaze are removed from the expression: they do not follow from the speech, and control adds them.
    """
    aligned = align_clip(clip.landmarks, space.template)
    expression = space.encode(aligned.meshes - aligned.neutral)
    opening, own = lid_opening(aligned.meshes).mean(-1), lid_opening(aligned.neutral).mean()
    look = gaze(aligned.meshes) - gaze(aligned.neutral)
    expression = expression - (1 - opening / own)[:, None, None] * space.blink
    expression = expression - np.einsum("tg,gkd->tkd", look, space.gaze)
    pose = relative_pose(aligned)
    if len(pose) > 9:
        pose = savgol.smooth_values(pose, FPS, "interp")  # the tracker's jitter: 0.03 to 0.2 degrees
    whitened = space.coefficients(expression) @ space.whiten
    tokens = np.concatenate([pose / space.pose_std, whitened], 1).astype(np.float32)
    mel, count = clip.mel()
    canonical = space.canonical_token(space.canonical(aligned.neutral))
    return TrainingClip(clip.identity, tokens[:count], canonical, mel)


def training_clips(space: FaceMeshSpace, clips: Iterable[TrackedClip]) -> list[TrainingClip]:
    """Tokens and mel of clips, whose own AV offsets are taken out."""
    judge = load_judge()
    return [training_clip(space, in_step(clip, judge)) for clip in clips]


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
    return np.asarray(linear_sum_assignment(np.linalg.norm(mesh[:, None] - flipped[None], axis=-1))[1])


def mirrored(displacement: Array, mirror: Indices) -> Array:
    """Displacements (..., 478, 3) of the mirror image of the face."""
    return np.asarray(displacement[..., mirror, :] * np.array([-1, 1, 1]))


def _normalised(mesh: Floats) -> Array:
    eyes = mesh[EYE_CORNERS].mean(1)
    return np.asarray((mesh - eyes.mean(0)) / np.linalg.norm(eyes[1] - eyes[0]) - EYE_TO_PIVOT)


def _symmetric(mesh: Array, mirror: Indices) -> Array:
    """Average with the mirror image, upright and facing the camera."""
    axis = (mesh[EYE_CORNERS[1]] - mesh[EYE_CORNERS[0][::-1]]).mean(0)
    axis /= np.linalg.norm(axis)
    down = mesh[152] - mesh[10]
    down = down - axis * (down @ axis)
    down /= np.linalg.norm(down)
    mesh = _normalised(mesh @ np.stack([axis, down, np.cross(axis, down)], 1))
    return _normalised((mesh + mirrored(mesh, mirror)) / 2)


def _pivot_vertices(basis: Array, count: int) -> Indices:
    """Vertices of a basis (3 ``count``, 1434) by block-pivoted QR: each adds the largest volume not yet spanned."""
    blocks = basis.reshape(len(basis), -1, 3).transpose(1, 0, 2).copy()  # (478, 63, 3)
    chosen: list[int] = []
    for _ in range(count):
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
