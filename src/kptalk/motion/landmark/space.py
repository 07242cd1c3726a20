"""The motion space ``landmark``: how far each of the face mesh's 478 points is from where the neutral face has it.

Landmark-guided diffusion (Tan et al., 2024) goes from speech to landmark movements and from these to frames. Units,
origin, pose and the neutral face are those of the space ``facemesh``. Its decoder is a linear basis of such movements,
so that 63 numbers stand for 478 points: a denoiser draws the same tokens (T, 70) in both spaces. What lies outside of
the basis, such as one region's share of a movement, is kept by a motion, and left out by the tokens.
"""

from __future__ import annotations

import numpy as np

from kptalk.face.topology import IBUG68
from kptalk.motion.facemesh.space import SHAPES, FaceMeshSpace
from kptalk.motion.landmark.regions import LandmarkRegions
from kptalk.types import Array

RIDGE = 1e-5  # squared face units that a token of 1 may cost when all points are found from 68


class LandmarkSpace(FaceMeshSpace):
    """Displacements of all vertices (T, 478, 3) in face units, turned with the head; from the tensors of ``facemesh``.

    Of a portrait ``canonical`` (478, 3) is its own neutral mesh.
    """

    id, keypoints = "landmark", SHAPES["template"][0]

    def __init__(self, tensors: dict[str, Array]) -> None:
        super().__init__(tensors)
        self.blink, self.open_lips, *gaze = self.expression(
            np.stack([tensors["blink"], tensors["open_lips"], *tensors["gaze"]])
        )
        self.gaze = np.stack(gaze)
        self.regions = LandmarkRegions(self.template, self.decoder, self.encoder, self.open_lips, self.blink)

    def coefficients(self, expression: Array) -> Array:
        """Displacements (T, 478, 3) to their numbers in the basis, (T, 63): a weighted projection."""
        coefficients: Array = expression.reshape(-1, len(self.encoder)) @ self.encoder
        return coefficients

    def expression(self, coefficients: Array) -> Array:
        """(T, 63) to displacements (T, 478, 3)."""
        expression: Array = coefficients @ self.decoder
        return expression.reshape(-1, self.keypoints, 3)

    def decode(self, expression: Array) -> Array:
        """The expression is the displacement."""
        return expression

    def canonical(self, neutral: Array) -> Array:
        """All points of a neutral mesh (478, 3)."""
        return neutral.astype(np.float32)

    def canonical_token(self, canonical: Array) -> Array:
        """A portrait's neutral mesh (478, 3) to the denoiser's first reference token (70,).

        Seven zeros, then the numbers in the basis of its difference from the mean face, by their spread over people.
        """
        shape = self.coefficients((canonical - self.template)[None])[0] / self.canonical_std
        return np.concatenate([np.zeros(7), shape]).astype(np.float32)

    def from_points68(self, points: Array) -> Array:
        """Displacements of iBUG's 68 points (T, 68, 3), see ``points68``, to those of all points (T, 478, 3).

        Regularised least squares: of the movements that the basis knows, the likeliest one that moves these points so.
        """
        basis = (self.unwhiten @ self.decoder).reshape(len(self.unwhiten), -1, 3)  # of tokens, of unit spread
        seen = basis[:, IBUG68].reshape(len(basis), -1)
        tokens = points.reshape(len(points), -1) @ np.linalg.solve(seen @ seen.T + RIDGE * np.eye(len(seen)), seen).T
        return self.expression((tokens @ self.unwhiten).astype(np.float32))
