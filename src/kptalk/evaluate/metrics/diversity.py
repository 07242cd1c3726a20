"""Head-pose diversity: how much the head moves, in three kinds of numbers that must not be mixed up.

* ``pose_std``: degrees, from FaceMesh landmarks; needs no weights.
* ``diversity_hopenet``: degrees as well, from the network Hopenet.
* ``diversity_logits``: Hopenet's raw outputs, not degrees. It is what KDTalker's published script computes
  (``evaluation/deep-head-pose/code/cal_std.py``); the paper does not say whether its table has these units.

Hopenet sees what its ``test_on_video_dlib.py`` shows it.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kptalk.evaluate.head_pose import head_rotation
from kptalk.evaluate.metric import AudioPair, FrameSample, Metric, NetworkMetric, specs
from kptalk.networks.hopenet import Hopenet, HopenetConfig, degrees
from kptalk.types import Array, Floats, Image

FIRST_FRAMES = 200  # of a video, that the reference's script looks at
BATCH = 16
NOSE_BASE = 2  # landmark
NOSE_HEIGHT = 0.62  # of a dlib box's side, from its upper edge to the nose's base
SIDE = 224  # pixels, of what Hopenet sees
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # of ImageNet, for values from 0 to 1
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def mean_std(values: Floats) -> float:
    """Standard deviation over the first axis of (T, ...), then the mean over all the others; NaN for T < 2."""
    return float(np.std(values, axis=0, dtype=np.float64).mean()) if len(values) > 1 else float("nan")


class PoseMetric(Metric):
    """Spread of the generated head's rotation in degrees, from FaceMesh; NaN for less than two frames with a face."""

    columns = specs("pose_std", "yaw_std", "pitch_std", "roll_std")

    def reset(self) -> None:
        self._angles: list[Array] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        if generated.mesh is not None:
            self._angles.append(head_rotation(generated.mesh))

    def compute(self, audio: AudioPair) -> dict[str, float]:
        angles = np.reshape(self._angles, (-1, 3))
        alone = {f"{axis}_std": mean_std(angles[:, k]) for k, axis in enumerate(("yaw", "pitch", "roll"))}
        return {"pose_std": mean_std(angles), **alone}


def dlib_box(mesh: Array) -> tuple[int, int, int, int]:
    """About the box (x0, y0, x1, y1) that dlib's CNN detector would give for landmarks (478, 3), in their pixels.

    A square as wide as the landmarks. On the test picture of the package face_recognition, whose tests hold the
    numbers, that detector's square goes from one end of the jaw line to the other (363 to 608 of 369 to 615) and from
    y = 144 to 389, with the nose's base at 295: 62 % of the way down.
    """
    left, right = float(mesh[:, 0].min()), float(mesh[:, 0].max())
    top = float(mesh[NOSE_BASE, 1]) - NOSE_HEIGHT * (right - left)
    return round(left), round(top), round(right), round(top + right - left)


def with_margins(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a picture that is shown for a face box (x0, y0, x1, y1): twice as wide and high, inside the picture.

    Half a box more on the left and right, three quarters above, one quarter below.
    """
    x0, y0, x1, y1 = box
    w, h = abs(x1 - x0), abs(y1 - y0)
    left, top = max(0, int(x0 - w / 2)), max(0, int(y0 - 3 * h / 4))
    return left, top, min(width, int(x1 + w / 2)), min(height, int(y1 + h / 4))


def center_crop(crop: Image) -> Image:
    """A crop (H, W, 3) uint8 RGB with its shorter side at 224 and the longer one cut to 224: (224, 224, 3).

    Antialiased, on whole levels, like Pillow's bilinear filter; where that rounds otherwise it is one level.
    """
    height, width = crop.shape[:2]
    shorter = min(height, width)
    size = (int(SIDE * height / shorter), int(SIDE * width / shorter))
    pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None]
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    top, left = (round((side - SIDE) / 2) for side in size)
    return np.asarray(resized[top : top + SIDE, left : left + SIDE])


def prepare(crop: Image) -> Tensor:
    """A crop (H, W, 3) uint8 RGB as the network wants it, (3, 224, 224) float32."""
    levels = torch.from_numpy(center_crop(crop).copy()).permute(2, 0, 1).float() / 255
    return (levels - MEAN) / STD


class HopenetMetric(NetworkMetric):
    """Head-pose diversity by the official Hopenet, as raw outputs and in degrees.

    As the reference's script does, it takes the first 200 frames of a video (8 s) and skips those without a face.
    Where that script also counts second faces, this one looks at the largest face only. NaN for less than two faces.
    """

    network, classes = "hopenet", (Hopenet, HopenetConfig)
    columns = specs("diversity_logits", "diversity_hopenet")

    def reset(self) -> None:
        self._frames = 0
        self._crops: list[Tensor] = []
        self._logits: list[Tensor] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        self._frames += 1
        if generated.mesh is None or self._frames > FIRST_FRAMES:
            return
        height, width = generated.image.shape[:2]
        left, top, right, bottom = with_margins(dlib_box(generated.mesh), width, height)
        if left < right and top < bottom:
            self._crops.append(prepare(generated.image[top:bottom, left:right]))
        if len(self._crops) == BATCH:
            self._run_network()

    def compute(self, audio: AudioPair) -> dict[str, float]:
        if self._crops:
            self._run_network()
        logits = torch.cat([torch.zeros(0, 3, self._network.config.bins), *self._logits])
        return {"diversity_logits": mean_std(logits.numpy()), "diversity_hopenet": mean_std(degrees(logits).numpy())}

    @torch.inference_mode()
    def _run_network(self) -> None:
        self._logits.append(self._network(torch.stack(self._crops)))
        self._crops.clear()
