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

import numpy as np
from safetensors import SafetensorError, safe_open

from kptalk.errors import WeightsError
from kptalk.face.geometry import align, rotation_angles, rotation_matrix
from kptalk.face.topology import (
    EYE_CORNERS,
    HALF_STABLE,
    LID_PAIRS,
    LIP_PAIRS,
    MOUTH_CORNERS,
    STABLE,
    lid_opening,
    lip_opening,
)
from kptalk.types import N_KEYPOINTS, Array, Face, Motion, SourceMotion

N_TOKEN = 7 + 3 * N_KEYPOINTS
EYE_TO_PIVOT = np.array([0.0, 1.1, 0.9])  # from the eyes' middle to the neck pivot, in face units
EYE_REACH = (0.28, 0.42)  # face units from an eye's middle: what belongs to it wholly, and what no more


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


def head_expression(motion: Motion) -> Array:
    """Expression (T, 21, 3) in the head's own frame: what is left when the head's turn is taken out."""
    return motion.expression @ np.swapaxes(rotation_matrix(motion.rotation), -1, -2)


def turn(motion: Motion, rotation: Array) -> Motion:
    """The same face on a head turned to ``rotation`` (T, 3) degrees."""
    expression = head_expression(motion) @ rotation_matrix(rotation)
    return motion.with_fields(rotation=rotation, expression=expression)


class FaceMeshSpace:
    """Encodes meshes to motion, decodes motion to meshes; built from the tensors that ``kptalk.train.space`` fits."""

    id = "facemesh"

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
            self.blink = tensors["blink"].reshape(N_KEYPOINTS, 3)  # expression that closes the lids
            self.gaze = tensors["gaze"].reshape(2, N_KEYPOINTS, 3)  # expression of a gaze of 1 to the right, down
            self.shape_to_expression = tensors[
                "shape_to_expression"
            ]  # (1435, 63) regression of the expression on one mesh
            self.open_lips = tensors["open_lips"].reshape(N_KEYPOINTS, 3)  # expression that opens the lips by 1
        except KeyError as error:
            raise WeightsError(f"motion space weights lack the tensor {error}") from error
        share = np.repeat(self._mouth_share(), 3)
        self.to_mouth = (self.decoder * share) @ self.encoder  # (63, 63) keeps of an expression what the mouth does
        self.to_eyes = (self.decoder * np.repeat(self._eye_share(), 3)) @ self.encoder  # (63, 63) likewise the eyes

    @classmethod
    def load(cls, path: str | Path) -> FaceMeshSpace:
        """Read the space from safetensors.

        Raises:
            WeightsError: the file is absent or damaged.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                return cls({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"cannot read motion space {path}: {error}") from error

    def pose(self, meshes: Array) -> tuple[Array, Array, Array]:
        """Similarity from the template to meshes (T, 478, 3): scale (T,), R (T, 3, 3), translation (T, 3)."""
        stable = np.concatenate([STABLE, HALF_STABLE])
        weights = np.concatenate([np.ones(len(STABLE)), np.full(len(HALF_STABLE), 0.5)])
        return align(meshes[:, stable].astype(np.float64), self.template[stable].astype(np.float64), weights)

    def encode(self, displacement: Array) -> Array:
        """Mesh displacements (T, 478, 3) in the head's frame to expression (T, 21, 3)."""
        expression: Array = displacement.reshape(len(displacement), -1) @ self.encoder
        return expression.reshape(-1, N_KEYPOINTS, 3)

    def decode(self, expression: Array) -> Array:
        """Expression (T, 21, 3) to mesh displacements (T, 478, 3) in the head's frame."""
        displacement: Array = expression.reshape(len(expression), -1) @ self.decoder
        return displacement.reshape(len(expression), -1, 3)

    def split_mouth(self, expression: Array) -> tuple[Array, Array]:
        """Head-frame expression (T, 21, 3) as the sum of what mouth and jaw do and what the rest of the face does."""
        mouth = (expression.reshape(len(expression), -1) @ self.to_mouth).reshape(-1, N_KEYPOINTS, 3)
        return mouth, expression - mouth

    def eyes(self, expression: Array) -> Array:
        """What lids, irises and the skin around them do in a head-frame expression (T, 21, 3)."""
        moved: Array = (expression.reshape(len(expression), -1) @ self.to_eyes).reshape(-1, N_KEYPOINTS, 3)
        return moved

    def lip_gap(self, expression: Array) -> Array:
        """How far a head-frame expression (T, 21, 3) parts closed lips, (T,) in face units."""
        downwards = self.decoder.reshape(3 * N_KEYPOINTS, -1, 3)[..., 1]
        gap: Array = expression.reshape(len(expression), -1) @ (downwards[:, 14] - downwards[:, 13])
        return gap

    def lid_gap(self, expression: Array) -> Array:
        """By how much a head-frame expression (T, 21, 3) opens the lids, (T, 2) in face units; below 0: closes."""
        downwards = self.decoder.reshape(3 * N_KEYPOINTS, -1, 3)[..., 1]
        opened = (downwards[:, LID_PAIRS[..., 1]] - downwards[:, LID_PAIRS[..., 0]]).mean(-1)
        gap: Array = expression.reshape(len(expression), -1) @ opened
        return gap

    def mouth_tokens(self, tokens: Array) -> Array:
        """What the mouth and jaw do in expression tokens (T, 63), as tokens."""
        return (tokens @ (self.unwhiten @ self.to_mouth @ self.whiten)).astype(np.float32)

    def lip_tokens(self) -> Array:
        """Gap between the lips as a linear function of the expression tokens, (63,): tokens @ this, in face units."""
        moved = self.decode(self.unwhiten.reshape(-1, N_KEYPOINTS, 3))
        gap: Array = np.ascontiguousarray(moved[:, 14, 1] - moved[:, 13, 1])
        return gap

    def token_importance(self) -> Array:
        """Share of the mesh's movement that each expression token explains, (63,), sum 1."""
        variance: Array = self.token_scale**2
        share: Array = variance / variance.sum()
        return share

    def extract(self, face: Face) -> FaceMeshSource:
        """Source motion of one portrait.

        A single picture does not tell a smile from wide lips: the expression is estimated by a regression learned over
        many people, then corrected so that the neutral mesh has closed lips.
        """
        scale, rotation, translation = self.pose(face.landmarks[None])
        unit, origin = float(scale[0]), translation[0]
        mesh = (face.landmarks - origin) / unit @ rotation[0].T
        expression = np.append((mesh - self.template).ravel(), 1) @ self.shape_to_expression
        expression = expression.reshape(1, N_KEYPOINTS, 3).astype(np.float32)
        gain = self.gain(self._closed(mesh, self.gain(mesh), expression)[0])  # a smile or an open mouth is wider
        neutral, expression = self._closed(mesh, gain, expression)
        motion = Motion(
            scale=np.ones((1, 1), np.float32),
            rotation=rotation_angles(rotation).astype(np.float32),
            translation=np.zeros((1, 3), np.float32),
            expression=(expression @ rotation).astype(np.float32),
            fps=Fraction(25),
            space=self.id,
        )
        canonical = neutral[self.vertices_of_control].astype(np.float32)
        return FaceMeshSource(
            canonical=canonical, motion=motion, neutral=neutral, gain=gain, unit=unit, origin=origin.astype(np.float32)
        )

    def neutral(self, meshes: Array) -> Array:
        """A person's neutral mesh (478, 3) from meshes of one video in the head's frame, (T, 478, 3) face units.

        The median of the frames with the most closed lips and open eyes, as for the clips that the space was fitted
        on; lips that never close are closed.
        """
        gap, lids = lip_opening(meshes), lid_opening(meshes).mean(-1)
        open_eyes = lids > 0.85 * np.median(lids)
        closed = gap <= max(0.02, np.quantile(gap[open_eyes], 0.1))
        calmest = np.median(meshes[closed & open_eyes], 0)
        return self._closed(calmest, self.gain(calmest), np.zeros((1, N_KEYPOINTS, 3), np.float32))[0]

    def vertices(self, source: FaceMeshSource, motion: Motion) -> Array:
        """Meshes (T, 478, 3) in pixels of the portrait for a motion (KDTalker eq. 1 and the decoder).

        Lips and lids that would cross are held at the line where they meet, or at the portrait's own crossing.
        """
        mesh = source.neutral + source.gain * self.decode(head_expression(motion))
        own = source.neutral + source.gain * self.decode(head_expression(source.motion))[0]
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
        expression = head_expression(motion).reshape(len(motion), -1) @ self.whiten
        tokens: Array = np.concatenate([pose / self.pose_std, expression], 1).astype(np.float32)
        return tokens

    def motion(self, tokens: Array, anchor: Motion) -> Motion:
        """The inverse of ``tokens``."""
        pose = tokens[:, :7] * self.pose_std
        rotation = pose[:, 1:4] + anchor.rotation
        expression = (tokens[:, 7:] @ self.unwhiten).reshape(-1, N_KEYPOINTS, 3)
        return Motion(
            scale=pose[:, :1] + anchor.scale,
            rotation=rotation,
            translation=pose[:, 4:] + anchor.translation,
            expression=expression @ rotation_matrix(rotation),
            fps=anchor.fps,
            space=self.id,
        )

    def canonical_token(self, canonical: Array) -> Array:
        """Canonical keypoints (21, 3) to the denoiser's first reference token (70,): seven zeros, the keypoints."""
        keypoints = (canonical.reshape(-1) - self.canonical_mean) / self.canonical_std
        token: Array = np.concatenate([np.zeros(7), keypoints]).astype(np.float32)
        return token

    def _mouth_share(self) -> Array:
        """How much a vertex belongs to mouth and jaw, (478,): 1 at the lips and below, 0 above the nose's tip."""
        nose, lips = self.template[1, 1], self.template[13, 1]
        share: Array = np.clip((self.template[:, 1] - nose) / (lips - nose), 0, 1)
        return share

    def _eye_share(self) -> Array:
        """How much a vertex belongs to an eye, (478,): 1 at the lids and next to them, 0 from the cheek and brow on."""
        middles = self.template[EYE_CORNERS, :2].mean(1)
        distance = np.linalg.norm(self.template[:, None, :2] - middles, axis=-1).min(1)
        near, far = EYE_REACH
        share: Array = np.clip((far - distance) / (far - near), 0, 1)
        return share

    def _closed(self, mesh: Array, gain: Array, expression: Array) -> tuple[Array, Array]:
        """The neutral mesh (478, 3) with closed lips under ``mesh``, and the expression (1, 21, 3) between the two.

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
        gain *= 1 + (mouth - 1) * self._mouth_share()[:, None]
        openings = np.clip(lid_opening(mesh) / lid_opening(self.template), 0.7, 1.4)
        for opening, pairs in zip(openings, LID_PAIRS, strict=True):
            gain[pairs.ravel(), 1] = opening
        return gain.astype(np.float32)
