"""Small corrections of the driving keypoints: so that the shoulders meet the photo, or eyes and lips open as asked.

The three networks of ``stitching_retargeting_module.pth``: ``retarget_shoulder`` (stitching), ``retarget_eye`` and
``retarget_mouth``, each without its ``module.`` prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.types import N_KEYPOINTS, Array

_EYE_GAPS = ((6, 18, 0, 12), (30, 42, 24, 36))  # of 203 landmarks: upper and lower lid, the two corners
_LIP_GAP = (90, 102, 48, 66)


@dataclass(frozen=True)
class StitchingNetworkConfig:
    """Architecture numbers; the defaults are those of stitching (45,249 parameters)."""

    inputs: int = 2 * 3 * N_KEYPOINTS  # source and driving keypoints
    hidden: tuple[int, ...] = (128, 128, 64)
    outputs: int = 3 * N_KEYPOINTS + 2  # an offset of each keypoint, then x and y for all


EYE = StitchingNetworkConfig(3 * N_KEYPOINTS + 3, (256, 256, 128, 128, 64), 3 * N_KEYPOINTS)  # 144,703 parameters
LIP = StitchingNetworkConfig(3 * N_KEYPOINTS + 2, (128, 128, 64), 3 * N_KEYPOINTS)  # 37,311 parameters


class StitchingNetwork(nn.Module):
    """A perceptron with ReLUs; which correction it makes depends on its weights and numbers."""

    def __init__(self, config: StitchingNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or StitchingNetworkConfig()
        widths = (config.inputs, *config.hidden, config.outputs)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        out: Tensor = self.mlp(x)
        return out


def stitch(network: StitchingNetwork, source: Tensor, driving: Tensor) -> Tensor:
    """Driving keypoints (B, 21, 3) moved so that what is below the face stays where it is in the source (B, 21, 3)."""
    out = network(torch.cat([source.flatten(1), driving.flatten(1)], 1))
    offset, shift = out[:, : 3 * N_KEYPOINTS], out[:, None, 3 * N_KEYPOINTS :]
    stitched: Tensor = driving + offset.reshape(-1, N_KEYPOINTS, 3) + F.pad(shift, (0, 1))
    return stitched


def retarget(network: StitchingNetwork, source: Tensor, ratios: Tensor) -> Tensor:
    """Offset (B, 21, 3) of the driving keypoints that opens eyes or lips.

    Args:
        network: the one for eyes or for lips.
        source: (B, 21, 3) keypoints x_s.
        ratios: eyes (B, 3): opening of the left and the right eye in the source, and the one asked for; lips (B, 2):
            opening in the source, and the one asked for.
    """
    out: Tensor = network(torch.cat([source.flatten(1), ratios], 1))
    return out.reshape(-1, N_KEYPOINTS, 3)


def eye_openings(landmarks: Array) -> Array:
    """(T, 203, 2) landmarks in pixels -> (T, 2): lid distance by eye width, of the left and the right eye."""
    return np.stack([_opening(landmarks, *gap) for gap in _EYE_GAPS], 1)


def lip_opening(landmarks: Array) -> Array:
    """(T, 203, 2) landmarks in pixels -> (T, 1): lip distance by mouth width."""
    return _opening(landmarks, *_LIP_GAP)[:, None]


def _opening(landmarks: Array, upper: int, lower: int, left: int, right: int) -> Array:
    gap = np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=-1)
    width = np.linalg.norm(landmarks[:, left] - landmarks[:, right], axis=-1)
    opening: Array = gap / (width + 1e-6)
    return opening
