"""MediaPipe's FaceMesh with attention: 478 landmarks of a face, those of lips, eyes and irises from a closer look.

Grishchenko et al., "Attention mesh: high-fidelity face mesh prediction in real-time", 2020. The whole face gives 468
points; on windows of the feature map around lips and eyes, which follow from these, three more stacks of blocks look
again. Left and right are those of the picture.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.separable import SeparableBlock, pad_end, separable_blocks

SIDE = 192  # pixels of the picture
N_MESH = 468
MAP = 48  # cells along a side of the map that the windows are cut from
WINDOW = 16  # samples along a side of a window
WINDOW_SCALE = 1.5  # side of a window, in sides of the box around its points
# Points of lips, left eye and right eye, in the order in which the network gives them.
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
LEFT_EYE = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26, 112),
    *(243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
    *(35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193),
)
RIGHT_EYE = (
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253, 252),
    *(256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444),
    *(443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293),
    *(334, 296, 336, 285, 417),
)
LEFT_IRIS, RIGHT_IRIS = tuple(range(N_MESH, N_MESH + 5)), tuple(range(N_MESH + 5, N_MESH + 10))
RIM = 16  # of an eye's points the first lie on its lids; an iris is as deep as they are on average
REGIONS = (LIPS, LEFT_EYE, RIGHT_EYE)
CORNERS = ((61, 291), (33, 133), (362, 263))  # left and right one of every region: what is level in its window
# What is read from a window: which window, and the landmarks.
PARTS = ((0, LIPS), (1, LEFT_EYE), (1, LEFT_IRIS), (2, RIGHT_EYE), (2, RIGHT_IRIS))


class FaceLandmarkNetwork(nn.Module):
    """Landmarks and presence of the one face in a picture; 1,189,277 parameters."""

    outlines: Tensor
    corners: Tensor
    rims: Tensor
    placed: Tensor
    owners: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.PReLU(16))
        self.low = separable_blocks((16, 16), (16, 16), (16, 32, 2))
        self.high = separable_blocks(
            *[(32, 32), (32, 32), (32, 64, 2), (64, 64), (64, 64), (64, 128, 2), (128, 128), (128, 128)],
            *[(128, 128, 2), (128, 128), (128, 128), (128, 128, 2), (128, 128), (128, 128)],
        )
        self.face = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32), SeparableBlock(32, 32))
        self.mesh, self.presence = nn.Conv2d(32, 3 * N_MESH, 3), nn.Conv2d(32, 1, 3)
        n = len(REGIONS)
        self.regions = separable_blocks((32, 32), (32, 32), (32, 64, 2), (64, 64), (64, 64), (64, 128, 2), groups=n)
        n = len(PARTS)
        self.parts = nn.Sequential(
            *separable_blocks((128, 128), (128, 128), (128, 128, 2), (128, 128), (128, 128), groups=n),
            *(nn.Conv2d(128 * n, 32 * n, 1, groups=n), nn.PReLU(32 * n), SeparableBlock(32, 32, groups=n)),
        )
        self.points = nn.ModuleList([nn.Conv2d(32, 2 * len(part), 2) for _, part in PARTS])
        longest = max(map(len, REGIONS))
        constants = {
            "outlines": [[*points, *points[:1] * (longest - len(points))] for points in REGIONS],  # one point repeated
            "corners": CORNERS,
            "rims": [[*LEFT_EYE[:RIM]], [*RIGHT_EYE[:RIM]]],
            "placed": [point for _, part in PARTS for point in part],
            "owners": [window for window, part in PARTS for _ in part],
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)
        v, u = torch.meshgrid(*[torch.arange(WINDOW) + 0.5] * 2, indexing="ij")
        self.register_buffer("samples", torch.stack([u, v], -1).reshape(-1, 2), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks in pixels of the picture, z as deep, and the logit of there being a face.

        Args:
            images: (B, 3, 192, 192) float32 RGB, 0 to 1, the face upright and about two thirds of the side.

        Returns:
            (B, 478, 3) and (B,).
        """
        features = self.low(self.stem(pad_end(images)))
        face = self.face(self.high(features))
        b = len(images)
        mesh = self.mesh(face).reshape(b, N_MESH, 3)
        windows = self._windows(mesh[..., :2] * (MAP / SIDE))
        seen = self.regions(self._cut(features, windows)).chunk(len(REGIONS), 1)
        seen = self.parts(torch.cat([seen[window] for window, _ in PARTS], 1)).chunk(len(PARTS), 1)
        found = torch.cat([points(part).flatten(1) for points, part in zip(self.points, seen, strict=True)], 1)
        to_map = windows[:, self.owners]
        found = (to_map[..., :2] @ found.reshape(b, -1, 2, 1))[..., 0] + SIDE / MAP * to_map[..., 2]
        depth = mesh[:, self.rims, 2].mean(2).repeat_interleave(5, 1)  # of the irises
        landmarks = torch.cat([mesh, F.pad(depth[..., None], (2, 0))], 1)
        landmarks[:, self.placed, :2] = found
        return landmarks, self.presence(face).flatten()

    def _windows(self, mesh: Tensor) -> Tensor:
        """(B, 468, 2) cells of the map -> (B, 3, 2, 3): cells of every region's window to cells of the map.

        A window is level with its region's corners, about the middle of the region's box and larger than it. Where the
        corners coincide, it is level with the map.
        """
        left, right = mesh[:, self.corners].unbind(2)  # (B, 3, 2)
        along = right - left
        length = along.square().sum(-1, keepdim=True).sqrt()
        along = torch.where(length > 0, along / length, along.new_tensor([1.0, 0.0]))
        back = torch.stack([along, torch.stack([-along[..., 1], along[..., 0]], -1)], -1)
        low, high = (mesh[:, self.outlines] @ back).aminmax(dim=2)
        linear = back * ((high - low) * (WINDOW_SCALE / WINDOW))[:, :, None]
        middle = back @ ((low + high) / 2)[..., None]
        return torch.cat([linear, middle - WINDOW / 2 * linear.sum(-1, keepdim=True)], -1)

    def _cut(self, features: Tensor, windows: Tensor) -> Tensor:
        """(B, C, 48, 48) -> (B, 3 * C, 16, 16): the map in the windows, bilinear; 0 for samples outside."""
        b = len(features)
        at = self.samples @ windows[..., :2].transpose(-1, -2) + windows[..., None, :, 2] - 0.5  # (B, 3, 256, 2)
        inside = ((at >= 0) & (at <= MAP - 1)).all(-1).to(features.dtype).reshape(b, -1, 1, WINDOW, WINDOW)
        grid = (at * (2 / (MAP - 1)) - 1).reshape(b, -1, WINDOW, 2)  # the windows one under the other
        cut = F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)
        cut = cut.reshape(b, features.shape[1], -1, WINDOW, WINDOW).transpose(1, 2) * inside
        return cut.reshape(b, -1, WINDOW, WINDOW).contiguous(memory_format=torch.channels_last)
