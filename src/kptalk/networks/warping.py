"""LivePortrait's warping module: the source's appearance volume, warped by the keypoints, becomes a feature map."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.blocks import ConvBlock
from kptalk.networks.dense_motion import DenseMotionConfig, DenseMotionNetwork


@dataclass(frozen=True)
class WarpingNetworkConfig(DenseMotionConfig):
    """Architecture numbers; the defaults are LivePortrait's (45,529,829 parameters)."""

    outputs_2d: int = 256  # channels of the feature map


class WarpingNetwork(nn.Module):
    """Parameter names are those of ``warping_module.pth``."""

    def __init__(self, config: WarpingNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or WarpingNetworkConfig()
        self.dense_motion_network = DenseMotionNetwork(config)
        self.third = ConvBlock(config.volume_channels * config.volume_depth, config.outputs_2d, slope=0.01)
        self.fourth = nn.Conv2d(config.outputs_2d, config.outputs_2d, 1)

    def forward(self, volume: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        """Feature map (B, 256, 64, 64) of a frame.

        Args:
            volume: (B, 32, 16, 64, 64) appearance of the source.
            driving: (B, 21, 3) keypoints x_d of the frame.
            source: (B, 21, 3) keypoints x_s of the source.
        """
        motion = self.dense_motion_network(volume, driving, source)
        warped = F.grid_sample(volume, motion.deformation, align_corners=False)
        return self.fourth(self.third(warped.flatten(1, 2))) * motion.occlusion
