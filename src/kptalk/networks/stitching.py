"""Small corrections of the driving keypoints: shoulders that meet the photo, eyes and lips that open to a target.

The three networks of ``stitching_retargeting_module.pth``: ``retarget_shoulder`` (stitching), ``retarget_eye`` and
``retarget_mouth``, each without its ``module.`` prefix.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_KEYPOINTS = 21


@dataclass(frozen=True)
class StitchingNetworkConfig:
    """Architecture numbers; the defaults are those of stitching (45,249 parameters)."""

    inputs: int = 2 * 3 * N_KEYPOINTS  # source and driving keypoints
    hidden: tuple[int, ...] = (128, 128, 64)
    outputs: int = 3 * N_KEYPOINTS + 2  # an offset of each keypoint, then x and y for all


EYE = StitchingNetworkConfig(3 * N_KEYPOINTS + 3, (256, 256, 128, 128, 64), 3 * N_KEYPOINTS)  # 144,703 parameters


class StitchingNetwork(nn.Module):
    """A perceptron with ReLUs; its weights and config decide which correction it makes."""

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
        return self.mlp(x)


def stitch(network: StitchingNetwork, source: Tensor, driving: Tensor) -> Tensor:
    """Driving keypoints (B, 21, 3) moved so that what is below the face stays where it is in the source (B, 21, 3)."""
    out = network(torch.cat([source.flatten(1), driving.flatten(1)], 1))
    offset, shift = out[:, : 3 * N_KEYPOINTS], out[:, None, 3 * N_KEYPOINTS :]
    return driving + offset.reshape(-1, N_KEYPOINTS, 3) + F.pad(shift, (0, 1))


def retarget(network: StitchingNetwork, source: Tensor, ratios: Tensor) -> Tensor:
    """Offset (B, 21, 3) of the driving keypoints that opens eyes or lips.

    Args:
        network: the one for eyes or for lips.
        source: (B, 21, 3) keypoints x_s.
        ratios: eyes (B, 3): opening (lid distance over eye width) of the left and the right eye in the source, and the
            target; lips (B, 2): opening (lip distance over mouth width) in the source, and the target.
    """
    out: Tensor = network(torch.cat([source.flatten(1), ratios], 1))
    return out.reshape(-1, N_KEYPOINTS, 3)
