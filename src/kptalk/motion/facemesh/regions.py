"""Mouth and eyes in the expressions of the space ``facemesh``: linear maps, as a decoded mesh is linear in them."""

import numpy as np

from kptalk.face.topology import EYE_CORNERS, LID_PAIRS
from kptalk.types import Array

EYE_REACH = (0.28, 0.42)  # face units from an eye's middle: what belongs to it wholly, and what no more


class FaceRegions:
    """What mouth and eyes do in a head-frame expression (T, 21, 3).

    Args:
        template: (478, 3) mean neutral mesh.
        decoder: (63, 1434) control-point displacements to mesh displacements.
        encoder: (1434, 63) its inverse, a weighted projection.
        open_lips: (21, 3) expression that opens the lips by 1.
        blink: (21, 3) expression that closes the lids.
    """

    def __init__(self, template: Array, decoder: Array, encoder: Array, open_lips: Array, blink: Array) -> None:
        self.template, self.open_lips, self.blink = template, open_lips, blink
        self.to_mouth = (decoder * np.repeat(self.mouth_share(), 3)) @ encoder  # (63, 63) keeps what the mouth does
        self.to_eyes = (decoder * np.repeat(self.eye_share(), 3)) @ encoder  # (63, 63) likewise the eyes
        self.downwards = decoder.reshape(len(decoder), -1, 3)[..., 1]  # (63, 478)

    def mouth_share(self) -> Array:
        """How much a vertex belongs to mouth and jaw, (478,): 1 at the lips and below, 0 above the nose's tip."""
        nose, lips = self.template[1, 1], self.template[13, 1]
        share: Array = np.clip((self.template[:, 1] - nose) / (lips - nose), 0, 1)
        return share

    def eye_share(self) -> Array:
        """How much a vertex belongs to an eye, (478,): 1 at the lids and next to them, 0 from the cheek and brow on."""
        middles = self.template[EYE_CORNERS, :2].mean(1)
        distance = np.linalg.norm(self.template[:, None, :2] - middles, axis=-1).min(1)
        near, far = EYE_REACH
        share: Array = np.clip((far - distance) / (far - near), 0, 1)
        return share

    def mouth(self, expression: Array) -> Array:
        """What mouth and jaw do, (T, 21, 3)."""
        return _mapped(expression, self.to_mouth).reshape(-1, len(self.to_mouth) // 3, 3)

    def eyes(self, expression: Array) -> Array:
        """What lids, irises and the skin around them do, (T, 21, 3)."""
        return _mapped(expression, self.to_eyes).reshape(-1, len(self.to_eyes) // 3, 3)

    def lip_gap(self, expression: Array) -> Array:
        """How far an expression parts closed lips, (T,) in face units."""
        return _mapped(expression, self.downwards[:, 14] - self.downwards[:, 13])

    def lid_gap(self, expression: Array) -> Array:
        """By how much an expression opens the lids, (T, 2) in face units; below 0: closes."""
        opened = (self.downwards[:, LID_PAIRS[..., 1]] - self.downwards[:, LID_PAIRS[..., 0]]).mean(-1)
        return _mapped(expression, opened)

    def lips_closed(self, expression: Array) -> Array:
        """The expression with lips that meet."""
        opened = self.lip_gap(expression) / self.lip_gap(self.open_lips[None])
        closed: Array = expression - opened[:, None, None] * self.open_lips
        return closed

    def eyes_open(self, expression: Array) -> Array:
        """The expression with lids as in the neutral face."""
        closed = self.lid_gap(expression).mean(-1) / self.lid_gap(self.blink[None]).mean()
        opened: Array = expression - closed[:, None, None] * self.blink
        return opened


def _mapped(expression: Array, matrix: Array) -> Array:
    mapped: Array = expression.reshape(-1, len(matrix)) @ matrix
    return mapped
