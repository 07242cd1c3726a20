"""SyncNet: embeds 0.2 s of a face and 0.2 s of sound, close together if the two belong together.

Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV-W 2016; the layers are those of the published
``syncnet_v2.model`` (13,631,616 parameters).
"""

from dataclasses import dataclass

from torch import Tensor, nn

CLIP = 5  # frames of the lip branch's input, 25 per second
SIDE = 224  # pixels of a frame's side
MFCCS = 20  # MFCC frames of the sound branch's input, 100 per second


@dataclass(frozen=True)
class SyncNetConfig:
    """Width of the embedding; the other widths are fixed by the published file."""

    embedding: int = 1024


class SyncNet(nn.Module):
    """Both branches. Parameter names are those of the published file."""

    def __init__(self, config: SyncNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or SyncNetConfig()
        self.netcnnaud = nn.Sequential(
            *(nn.Conv2d(1, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True)),
            nn.Identity(),  # a 1 x 1 pooling in the original; it holds the place, since names are numbers
            *(nn.Conv2d(64, 192, 3, padding=1), nn.BatchNorm2d(192), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, stride=(1, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.BatchNorm2d(384), nn.ReLU(inplace=True)),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(inplace=True)),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, stride=2),
            *(nn.Conv2d(256, 512, (5, 4)), nn.BatchNorm2d(512), nn.ReLU(inplace=True)),
        )
        self.netfcaud = self._head()
        self.netfclip = self._head()
        # Only the first layer looks across time: the later ones have kernels of one frame.
        pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2))
        self.netcnnlip = nn.Sequential(
            *(nn.Conv3d(3, 96, (CLIP, 7, 7), stride=(1, 2, 2)), nn.BatchNorm3d(96), nn.ReLU(inplace=True)),
            pool,
            *(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)), nn.BatchNorm3d(256), nn.ReLU(inplace=True)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(256), nn.ReLU(inplace=True)),
            *(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(256), nn.ReLU(inplace=True)),
            *(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(256), nn.ReLU(inplace=True)),
            pool,
            *(nn.Conv3d(256, 512, (1, 6, 6)), nn.BatchNorm3d(512), nn.ReLU(inplace=True)),
        )

    def lips(self, frames: Tensor) -> Tensor:
        """Every 5 frames in a row: (T, 3, 224, 224) float32 BGR, 0 to 255, T >= 5 -> (T - 4, 1024)."""
        features = self.netcnnlip(frames.transpose(0, 1)[None])
        return self.netfclip(features[0, :, :, 0, 0].T)

    def sound(self, mfccs: Tensor) -> Tensor:
        """Windows of MFCC: (B, 13, 20) float32 -> (B, 1024)."""
        return self.netfcaud(self.netcnnaud(mfccs[:, None]).flatten(1))

    def _head(self) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True)), nn.Linear(512, self.config.embedding)
        )
