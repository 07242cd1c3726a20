"""Mouth and eyes among the 478 landmarks: a share of each point's movement."""

from kptalk.face.topology import LID_PAIRS
from kptalk.motion.facemesh.regions import FaceRegions
from kptalk.types import Array


class LandmarkRegions(FaceRegions):
    """As ``FaceRegions``, of displacements (T, 478, 3) in the head's frame; ``open_lips`` and ``blink`` (478, 3)."""

    def mouth(self, expression: Array) -> Array:
        """What mouth and jaw do, (T, 478, 3)."""
        return expression * self.mouth_share()[:, None]

    def eyes(self, expression: Array) -> Array:
        """What lids, irises and the skin around them do, (T, 478, 3)."""
        return expression * self.eye_share()[:, None]

    def lip_gap(self, expression: Array) -> Array:
        """How far an expression parts closed lips, (T,) in face units."""
        return expression[:, 14, 1] - expression[:, 13, 1]

    def lid_gap(self, expression: Array) -> Array:
        """By how much an expression opens the lids, (T, 2) in face units; below 0: closes."""
        gaps: Array = (expression[:, LID_PAIRS[..., 1], 1] - expression[:, LID_PAIRS[..., 0], 1]).mean(-1)
        return gaps
