"""Head-pose diversity: how much the head moves, in three kinds of numbers that must not be mixed up.

* ``pose_std``: degrees, from FaceMesh landmarks; needs no weights.
* ``diversity_hopenet``: degrees as well, from the network Hopenet.
* ``diversity_logits``: Hopenet's raw outputs, not degrees. It is what KDTalker's published script computes
  (``evaluation/deep-head-pose/code/cal_std.py``); the paper does not say whether its table has these units.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kptalk.evaluate.head_pose import head_rotation
from kptalk.evaluate.metric import AudioPair, FrameSample, Metric, NetworkMetric, specs
from kptalk.evaluate.metrics.hopenet_crop import prepare, with_margins
from kptalk.networks.hopenet import Hopenet, HopenetConfig, degrees
from kptalk.types import Array, Floats

FIRST_FRAMES = 200  # of a video, that the reference's script looks at
BATCH = 16
NOSE_BASE = 2  # landmark
NOSE_HEIGHT = 0.62  # of a dlib box's side, from its upper edge to the nose's base


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
