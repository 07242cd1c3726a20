"""The motion space ``facemesh``: 21 learned 3-D control points that reproduce the 478-point face mesh.

Units: the distance between the eyes' middles is 1. The origin is the neck pivot, so that a turn of the head alone
leaves ``translation`` near zero; x to the right, y down, z away from the camera.

The expression of a mesh is its difference from the person's neutral mesh (lips closed, eyes open). A weighted
63-component PCA of such differences, expressed by the displacements of 21 of the mesh's own vertices, is an exact
change of basis: 21 x 3 = 63 numbers. A difference is encoded by weighted projection onto the PCA, never by reading the
21 vertices off a raw mesh. KDTalker's eq. 1, x_d = s (x_c R + delta) + t, then holds for these vertices. As there,
delta is added after the rotation, so it is the head's own deformation turned with the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from kptalk.errors import WeightsError
from kptalk.face.geometry import align, rotation_angles, rotation_matrix
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.face.topology import LID_PAIRS, LIP_PAIRS, MOUTH_CORNERS, STABLE_POINTS, STABLE_WEIGHTS
from kptalk.files import explain
from kptalk.motion.facemesh.regions import FaceRegions
from kptalk.motion.space import Anatomy, Region, relative_pose
from kptalk.types import N_KEYPOINTS, Array, Floats, Motion, Portrait, SourceMotion

N_TOKEN = 7 + 3 * N_KEYPOINTS
EYE_TO_PIVOT = np.array([0.0, 1.1, 0.9])  # from the eyes' middle to the neck pivot, in face units
LIDS_SHUT = 1.25  # the tracker rarely reads quite closed lids, so the learned direction stops short of them
SHUT = 0.1  # of the photo's own opening: lids that have met
STRONGEST_BLINK = 2.0  # times the mean person's
SHAPES = {  # of the tensors in the file
    "template": (478, 3),
    "decoder": (63, 1434),
    "encoder": (1434, 63),
    "control": (21,),
    "whiten": (63, 63),
    "unwhiten": (63, 63),
    "whiten_std": (63,),
    "mirror": (478,),
    "pose_std": (7,),
    "canonical_mean": (63,),
    "canonical_std": (63,),
    "blink": (63,),
    "gaze": (2, 63),
    "shape_to_expression": (1435, 63),
    "open_lips": (63,),
}
INDICES = ("control", "mirror")  # of these, numbers of vertices
LARGEST = 1e5  # of their numbers; the whitening reaches 1e3
LARGEST_FACE = 20.0  # face units from the neck pivot to any vertex of a face
FARTHEST = 2.0  # face units that an expression may move a vertex by, some four times what faces do


@dataclass(frozen=True)
class FaceMeshSource(SourceMotion):
    """What the space reads from a portrait.

    ``neutral`` (478, 3) is the person's mesh with closed lips and open eyes in face units; ``gain`` (478, 3) scales the
    decoded expression to the person's own mouth width and eye opening; a point p in face units lies at pixel
    ``origin + unit * p``.
    """

    neutral: Array
    gain: Array
    unit: float
    origin: Array


def to_head_frame(motion: Motion) -> Array:
    """Expression (T, 21, 3) in the head's own frame: what is left when the head's turn is taken out."""
    return np.asarray(motion.expression @ np.swapaxes(rotation_matrix(motion.rotation), -1, -2), np.float32)


def from_head_frame(expression: Array, rotation: Array) -> Array:
    """The inverse of ``to_head_frame``: (T, 21, 3) for heads turned to ``rotation`` (T, 3) degrees."""
    return np.asarray(expression @ rotation_matrix(rotation), np.float32)


def turn(motion: Motion, rotation: Array) -> Motion:
    """The same face on a head turned to ``rotation`` (T, 3) degrees."""
    return motion.with_fields(rotation=rotation, expression=from_head_frame(to_head_frame(motion), rotation))


def head_pose(meshes: Array, template: Array) -> tuple[Array, Array, Array]:
    """Similarity from a template (478, 3) to meshes (T, 478, 3): scale (T,), R (T, 3, 3), translation (T, 3)."""
    stable = template[STABLE_POINTS].astype(np.float64)
    return align(meshes[:, STABLE_POINTS].astype(np.float64), stable, STABLE_WEIGHTS)


def neutral_mesh(meshes: Floats) -> Array:
    """A person's neutral mesh (478, 3) from meshes of one video in the head's frame, (T, 478, 3) face units.

    The median of the frames with the most closed lips and open eyes.
    """
    gap, lids = lip_opening(meshes), lid_opening(meshes).mean(-1)
    open_eyes = lids > 0.85 * np.median(lids)
    closed = gap <= max(0.02, np.quantile(gap[open_eyes], 0.1))
    neutral: Array = np.median(meshes[closed & open_eyes], 0)
    return neutral


class FaceMeshSpace:
    """Encodes meshes to motion, decodes motion to meshes; from the tensors that ``kptalk.train.facemesh`` fits."""

    id, keypoints = "facemesh", N_KEYPOINTS
    sizes: ClassVar[dict[int, int]] = {}  # instead of those in ``SHAPES``, where a basis has fewer control points
    to_head_frame, from_head_frame = staticmethod(to_head_frame), staticmethod(from_head_frame)

    def __init__(self, tensors: dict[str, Array]) -> None:
        try:
            self.template = tensors["template"]  # (478, 3) mean neutral mesh
            self.decoder = tensors["decoder"]  # (63, 1434) control-point displacements to mesh displacements
            self.encoder = tensors["encoder"]  # (1434, 63) the weighted projection, back to control points
            self.vertices_of_control = tensors["control"].astype(np.int64)  # (21,)
            self.whiten = tensors["whiten"]  # (63, 63) control-point displacements to whitened PCA coordinates
            self.unwhiten = tensors["unwhiten"]  # (63, 63) its inverse
            self.token_scale = tensors["whiten_std"]  # (63,) spread of the PCA coordinates, in weighted face units
            self.mirror = tensors["mirror"].astype(np.int64)  # (478,) the vertex on the other side of the face
            self.pose_std = tensors["pose_std"]  # (7,) of scale, yaw, pitch, roll, translation
            self.canonical_mean = tensors["canonical_mean"]  # (63,)
            self.canonical_std = tensors["canonical_std"]  # (63,)
            self.blink = tensors["blink"].reshape(-1, 3)  # expression that closes the lids
            self.gaze = tensors["gaze"].reshape(2, -1, 3)  # expression of a gaze of 1 to the right, down
            self.shape_to_expression = tensors["shape_to_expression"]  # (1435, 63) regression on one mesh
            self.open_lips = tensors["open_lips"].reshape(-1, 3)  # expression that opens the lips by 1
        except KeyError as error:
            raise WeightsError(f"motion space weights lack the tensor {error}") from error
        self.regions = FaceRegions(self.template, self.decoder, self.encoder, self.open_lips, self.blink)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the space from safetensors.

        Raises:
            WeightsError: the file is absent or damaged, or a tensor cannot be that of a motion space.
        """
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"cannot read motion space {path}: {explain(error)}") from error
        for name in SHAPES.keys() & tensors.keys():
            value, shape = tensors[name], tuple(cls.sizes.get(size, size) for size in SHAPES[name])
            if value.shape != shape or value.dtype.kind not in "fi":
                raise WeightsError(f"{path} is damaged: {name} is {value.dtype} {value.shape}, expected {shape}")
            low = 1e-6 if name.endswith("_std") else 0 if name in INDICES else -LARGEST
            if not ((value >= low) & (value <= (477 if name in INDICES else LARGEST))).all():
                raise WeightsError(f"{path} is damaged: {name} holds numbers that no motion space has")
        return cls(tensors)

    def pose(self, meshes: Array) -> tuple[Array, Array, Array]:
        """Similarity from the template to meshes (T, 478, 3): scale (T,), R (T, 3, 3), translation (T, 3)."""
        return head_pose(meshes, self.template)

    def encode(self, displacement: Array) -> Array:
        """Mesh displacements (T, 478, 3) in the head's frame to expression (T, K, 3)."""
        return self.expression(displacement.reshape(-1, len(self.encoder)) @ self.encoder)

    def decode(self, expression: Array) -> Array:
        """Expression (T, K, 3) to mesh displacements (T, 478, 3) in the head's frame."""
        displacement: Array = self.coefficients(expression) @ self.decoder
        return displacement.reshape(-1, len(self.template), 3)

    def coefficients(self, expression: Array) -> Array:
        """Expression (T, K, 3) to the displacements of the 21 control points, (T, 63)."""
        return expression.reshape(-1, len(self.decoder))

    def expression(self, coefficients: Array) -> Array:
        """The inverse: (T, 63) to (T, K, 3)."""
        return coefficients.reshape(-1, len(self.decoder) // 3, 3)

    def canonical(self, neutral: Array) -> Array:
        """Canonical keypoints (K, 3) of a neutral mesh (478, 3)."""
        return neutral[self.vertices_of_control].astype(np.float32)

    def mouth_tokens(self, tokens: Array) -> Array:
        """What the mouth and jaw do in expression tokens (T, 63), as tokens."""
        return (tokens @ (self.unwhiten @ self.regions.to_mouth @ self.whiten)).astype(np.float32)

    def lip_tokens(self) -> Array:
        """Gap between the lips as a linear function of the expression tokens, (63,): tokens @ this, in face units."""
        moved = (self.unwhiten @ self.decoder).reshape(len(self.unwhiten), -1, 3)
        gap: Array = np.ascontiguousarray(moved[:, 14, 1] - moved[:, 13, 1])
        return gap

    def token_importance(self) -> Array:
        """Share of the mesh's movement that each expression token explains, (63,), sum 1."""
        variance: Array = self.token_scale**2
        share: Array = variance / variance.sum()
        return share

    def extract(self, portrait: Portrait) -> FaceMeshSource:
        """Source motion of one portrait; the picture is not looked at.

        A single picture does not tell a smile from wide lips: the expression is estimated by a regression learned over
        many people, then corrected so that the neutral mesh has closed lips.
        """
        landmarks = portrait.face.landmarks
        scale, rotation, translation = self.pose(landmarks[None])
        unit, origin = float(scale[0]), translation[0]
        mesh = (landmarks - origin) / unit @ rotation[0].T
        coefficients = np.append((mesh - self.template).ravel(), 1) @ self.shape_to_expression
        expression = self.expression(coefficients[None]).astype(np.float32)
        gain = self.gain(self._closed(mesh, self.gain(mesh), expression)[0])  # a smile or an open mouth is wider
        neutral, expression = self._closed(mesh, gain, expression)
        if not (np.abs(np.concatenate([neutral, expression[0]])) <= LARGEST_FACE).all():
            raise WeightsError("the model's motion space does not fit a face: its weights are damaged")
        motion = Motion(
            scale=np.ones((1, 1), np.float32),
            rotation=rotation_angles(rotation).astype(np.float32),
            translation=np.zeros((1, 3), np.float32),
            expression=(expression @ rotation).astype(np.float32),
            fps=Fraction(25),
            space=self.id,
        )
        canonical, origin = self.canonical(neutral), origin.astype(np.float32)
        return FaceMeshSource(canonical, motion, neutral=neutral, gain=gain, unit=unit, origin=origin)

    def anatomy(self, source: FaceMeshSource) -> Anatomy:
        """See ``MotionSpace``: expressions count from the person's neutral face with closed lips."""
        rest = np.zeros((self.keypoints, 3), np.float32)
        return Anatomy(rest, blink=LIDS_SHUT * self._blink_of(source), gaze=self.gaze)

    def region(self, name: Region, change: Array) -> Array:
        """See ``MotionSpace``; the jaw is part of the mouth."""
        return self.regions.mouth(change) if name == "mouth" else self.regions.eyes(change)

    def relative(self, motion: Motion, anchor: Motion, source: Motion) -> Motion:
        """See ``MotionSpace``.

        Both persons' expressions count from their neutral faces with closed lips and open eyes. So the lips are as far
        open as the driver's, and the lids as far closed, whatever the portrait's mouth or the driver's first frame
        looks like: else lips that were parted in the photo would never meet. Everything else is relative.
        """
        pose = relative_pose(motion, anchor, source)
        own, first = self.regions.lips_closed(to_head_frame(source)), self.regions.lips_closed(to_head_frame(anchor))
        expression = own + to_head_frame(motion) - self.regions.eyes_open(first)
        return motion.with_fields(**pose, expression=from_head_frame(expression, pose["rotation"]))

    def absolute(self, motion: Motion, source: Motion) -> Motion:
        """See ``MotionSpace``; scale and translation count from the driver's first frame, as everywhere here."""
        return motion

    def neutral(self, meshes: Floats) -> Array:
        """``neutral_mesh`` of one video, (T, 478, 3) to (478, 3), with lips closed that never close."""
        calmest = neutral_mesh(meshes)
        return self._closed(calmest, self.gain(calmest), np.zeros((1, self.keypoints, 3), np.float32))[0]

    def vertices(self, source: FaceMeshSource, motion: Motion) -> Array:
        """Meshes (T, 478, 3) in pixels of the portrait for a motion (KDTalker eq. 1 and the decoder).

        Lips and lids that would cross are held at the line where they meet, or at the portrait's own crossing.
        """
        displacement = np.clip(self.decode(to_head_frame(motion)), -FARTHEST, FARTHEST)
        mesh = source.neutral + source.gain * displacement
        own = source.neutral + source.gain * self.decode(to_head_frame(source.motion))[0]
        upper, lower = np.concatenate([LIP_PAIRS, LID_PAIRS.reshape(-1, 2)]).T
        allowed = np.minimum(own[lower, 1] - own[upper, 1], 0)
        crossing = np.maximum(allowed - (mesh[:, lower, 1] - mesh[:, upper, 1]), 0)
        mesh[:, upper, 1] -= crossing / 2
        mesh[:, lower, 1] += crossing / 2
        posed = motion.scale[:, None] * (mesh @ rotation_matrix(motion.rotation)) + motion.translation[:, None]
        meshes: Array = (source.origin + source.unit * posed).astype(np.float32)
        return meshes

    def tokens(self, motion: Motion, anchor: Motion) -> Array:
        """Motion (T frames) to the denoiser's tokens (T, 70): scale, yaw, pitch, roll, translation, expression.

        The pose is taken relative to ``anchor`` (one frame: the portrait's own pose, or a clip's median); the
        expression is whitened, because the raw control points differ by a factor of forty in what they do to the mesh.
        """
        pose = np.concatenate([motion.scale - anchor.scale, motion.rotation - anchor.rotation, motion.translation], 1)
        pose[:, 4:] -= anchor.translation
        expression = self.coefficients(to_head_frame(motion)) @ self.whiten
        tokens: Array = np.concatenate([pose / self.pose_std, expression], 1).astype(np.float32)
        return tokens

    def motion(self, tokens: Array, anchor: Motion) -> Motion:
        """The inverse of ``tokens``."""
        pose = tokens[:, :7] * self.pose_std
        rotation = pose[:, 1:4] + anchor.rotation
        expression = self.expression(tokens[:, 7:] @ self.unwhiten)
        return Motion(
            scale=pose[:, :1] + anchor.scale,
            rotation=rotation,
            translation=pose[:, 4:] + anchor.translation,
            expression=from_head_frame(expression, rotation),
            fps=anchor.fps,
            space=self.id,
        )

    def canonical_token(self, canonical: Array) -> Array:
        """Canonical keypoints (K, 3) to the denoiser's first reference token (70,): seven zeros, the keypoints."""
        keypoints = (canonical.reshape(-1) - self.canonical_mean) / self.canonical_std
        token: Array = np.concatenate([np.zeros(7), keypoints]).astype(np.float32)
        return token

    def _blink_of(self, source: FaceMeshSource) -> Array:
        """Expression (K, 3) that closes this face's lids: eyes differ in how far they are open and how they close."""
        own = to_head_frame(source.motion)
        strengths = np.arange(1, STRONGEST_BLINK, 0.1, dtype=np.float32)
        faces = np.concatenate([own, own + strengths[:, None, None] * self.blink])
        motion = source.motion.repeat(len(faces))
        level = {"scale": np.ones_like(motion.scale), "translation": np.zeros_like(motion.translation)}
        level["rotation"] = np.zeros_like(motion.rotation)
        meshes = self.vertices(source, motion.with_fields(**level, expression=faces))
        gaps = meshes[:, LID_PAIRS[..., 1], 1] - meshes[:, LID_PAIRS[..., 0], 1]
        open_still = gaps.mean((1, 2)) / gaps[0].mean()
        shut = open_still[1:] <= SHUT
        blink: Array = strengths[shut.argmax() if shut.any() else -1] * self.blink
        return blink

    def _closed(self, mesh: Array, gain: Array, expression: Array) -> tuple[Array, Array]:
        """The neutral mesh (478, 3) with closed lips under ``mesh``, and the expression (1, K, 3) between the two.

        Starts from a guess of the expression.
        """
        for _ in range(3):  # the gap is nearly linear in the expression
            neutral = mesh - gain * self.decode(expression)[0]
            expression = expression + self.open_lips * lip_opening(neutral) / gain[13, 1]
        return mesh - gain * self.decode(expression)[0], expression

    def gain(self, mesh: Array) -> Array:
        """(478, 3): how much larger this person's mouth and eye openings are than the template's."""
        gain = np.ones((len(self.template), 3))
        corners = MOUTH_CORNERS
        width = np.linalg.norm(mesh[corners[0], :2] - mesh[corners[1], :2])
        usual = np.linalg.norm(self.template[corners[0], :2] - self.template[corners[1], :2])
        mouth = np.clip(width / usual, 0.8, 1.2)
        gain *= 1 + (mouth - 1) * self.regions.mouth_share()[:, None]
        openings = np.clip(lid_opening(mesh) / lid_opening(self.template), 0.7, 1.4)
        for opening, pairs in zip(openings, LID_PAIRS, strict=True):
            gain[pairs.ravel(), 1] = opening
        return gain.astype(np.float32)
