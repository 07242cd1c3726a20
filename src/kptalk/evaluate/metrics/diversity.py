"""Head-pose diversity: how much the head moves, in three kinds of numbers that must not be mixed up.

* ``pose_std``: degrees, from FaceMesh landmarks; needs no weights beyond the package's own.
* ``diversity_hopenet``: degrees as well, from the network Hopenet.
* ``diversity_logits``: Hopenet's raw outputs, not degrees. It is what KDTalker's published script computes
  (``evaluation/deep-head-pose/code/cal_std.py``); the paper does not say whether its table has these units.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kptalk.evaluate.metric import Column, Heard, Judge, Sight
from kptalk.evaluate.metrics.hopenet_crop import prepare, with_margins
from kptalk.face.geometry import rotation_angles
from kptalk.files import sha256
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.hopenet import Hopenet, HopenetConfig, degrees
from kptalk.weights.registry import official_path
from kptalk.weights.store import embedded_path, load_model

FIRST_FRAMES = 200  # of a video, that the reference's script looks at
BATCH = 16
NOSE_BASE = 2  # landmark
NOSE_HEIGHT = 0.62  # of a dlib box's side, from its upper edge to the nose's base

Floats = NDArray[np.floating[Any]]


@cache
def _space() -> FaceMeshSpace:
    return FaceMeshSpace.load(embedded_path("facemesh"))


def head_rotation(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Yaw, pitch and roll (3,) float32 in degrees of landmarks (478, 3) in pixels; LivePortrait's signs.

    By the points that hardly move with the expression, so that speech does not turn the head.
    """
    _, rotation, _ = _space().pose(mesh[None])
    angles: NDArray[np.float32] = rotation_angles(rotation)[0].astype(np.float32)
    return angles


def mean_std(values: Floats) -> float:
    """Standard deviation over the first axis of (T, ...), then the mean over all the others; NaN for T < 2."""
    return float(np.std(values, axis=0, dtype=np.float64).mean()) if len(values) > 1 else float("nan")


class PoseMeter:
    """Collects the head's rotation in the frames that show a face."""

    def __init__(self) -> None:
        self._angles: list[NDArray[np.float32]] = []

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame of the generated video."""
        if generated.mesh is not None:
            self._angles.append(head_rotation(generated.mesh))

    def result(self, heard: Heard) -> Mapping[str, float]:
        """Spread of the angles; NaN for less than two frames with a face."""
        angles = np.reshape(self._angles, (-1, 3))
        alone = {f"{axis}_std": mean_std(angles[:, k]) for k, axis in enumerate(("yaw", "pitch", "roll"))}
        return {"pose_std": mean_std(angles), **alone}


class PoseJudge(Judge):
    """Spread of the head's rotation in degrees, from FaceMesh."""

    columns = (
        Column(
            "pose_std",
            "pose std",
            "degrees",
            "higher",
            "head-pose diversity: mean of the next three; the papers count more as better, but see the real video's",
        ),
        Column("yaw_std", "yaw std", "degrees", "real", "standard deviation over the frames, FaceMesh"),
        Column("pitch_std", "pitch std", "degrees", "real", "standard deviation over the frames, FaceMesh"),
        Column("roll_std", "roll std", "degrees", "real", "standard deviation over the frames, FaceMesh"),
    )

    def start(self) -> PoseMeter:
        """A meter for the next clip."""
        return PoseMeter()


def dlib_box(mesh: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """About the box (x0, y0, x1, y1) that dlib's CNN detector would give for landmarks (478, 3), in their pixels.

    A square as wide as the landmarks. On the test picture of the package face_recognition, whose tests hold the
    numbers, that detector's square goes from one end of the jaw line to the other (363 to 608 of 369 to 615) and from
    y = 144 to 389, with the nose's base at 295: 62 % of the way down.
    """
    left, right = float(mesh[:, 0].min()), float(mesh[:, 0].max())
    top = float(mesh[NOSE_BASE, 1]) - NOSE_HEIGHT * (right - left)
    return round(left), round(top), round(right), round(top + right - left)


class HopenetMeter:
    """Collects Hopenet's outputs for the first 200 frames, where they show a face."""

    def __init__(self, network: Hopenet) -> None:
        self._network = network
        self._frames = 0
        self._crops: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame of the generated video."""
        self._frames += 1
        if generated.mesh is None or self._frames > FIRST_FRAMES:
            return
        height, width = generated.image.shape[:2]
        left, top, right, bottom = with_margins(dlib_box(generated.mesh), width, height)
        if left < right and top < bottom:
            self._crops.append(prepare(generated.image[top:bottom, left:right]))
        if len(self._crops) == BATCH:
            self._look()

    def result(self, heard: Heard) -> Mapping[str, float]:
        """Both diversities; NaN for less than two frames with a face."""
        if self._crops:
            self._look()
        logits = torch.cat([torch.zeros(0, 3, self._network.config.bins), *self._logits])
        return {
            "diversity_logits": mean_std(logits.numpy()),
            "diversity_hopenet": mean_std(degrees(logits).numpy()),
        }

    @torch.inference_mode()
    def _look(self) -> None:
        self._logits.append(self._network(torch.stack(self._crops)))
        self._crops.clear()


class HopenetJudge(Judge):
    """Head-pose diversity by the official Hopenet, as raw outputs and in degrees.

    As the reference's script does, it takes the first 200 frames of a video (8 s) and skips those without a face.
    Where that script also counts second faces, this one looks at the largest face only.
    """

    columns = (
        Column(
            "diversity_logits",
            "diversity (logits)",
            "",
            "higher",
            "KDTalker's script: std over the frames of Hopenet's raw outputs, mean over 66 bins and three angles",
        ),
        Column(
            "diversity_hopenet",
            "diversity (Hopenet)",
            "degrees",
            "higher",
            "std over the frames of Hopenet's yaw, pitch and roll, mean of the three; first 200 frames",
        ),
    )

    def __init__(self, path: Path | None = None) -> None:
        """Load the network.

        Args:
            path: safetensors that ``save_model`` wrote; None: the official file.

        Raises:
            WeightsError: it is not here, or does not fit.
        """
        self._path = path or official_path("hopenet")
        self._network = load_model(self._path, Hopenet, HopenetConfig)

    def start(self) -> HopenetMeter:
        """A meter for the next clip."""
        return HopenetMeter(self._network)

    def weights(self) -> Mapping[str, str]:
        """sha256 of Hopenet's file."""
        return {"hopenet": sha256(self._path)}
