"""CSIM: does the face stay the portrait's? Cosine similarity of face-recognition embeddings.

    CSIM = mean over frames of <e(generated frame), e(source)> / (|e(generated frame)| |e(source)|)

The source is the portrait that the video was made from: in the papers' protocol the first frame of the real video (here
the first one in which a face is seen). The real video's own number, below 1, is what pose and expression alone cost.

The network e is the user's choice: an ONNX file with one input of N RGB pictures (N, 3, 112, 112) as
(value - 127.5) / 127.5, the convention of InsightFace's ArcFace models, and one output (N, D). Faces are brought to
ArcFace's five points (Deng et al., CVPR 2019) by the least-squares similarity transform (Umeyama 1991).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.errors import MissingExtra, WeightsError
from kptalk.evaluate.metric import Column, Heard, Image, Judge, Sight
from kptalk.face.topology import IRISES, MOUTH_CORNERS
from kptalk.files import sha256
from kptalk.weights.registry import official_path

Floats = NDArray[np.float32]

EVERY = 5  # frames, from the first one on
SIDE = 112  # pixels of the aligned face
# Eyes, nose tip, mouth corners in the aligned face; left and right are those of the picture.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
NOSE_TIP = 4
FIVE_POINTS = np.array([IRISES[0, 0], IRISES[1, 0], NOSE_TIP, *MOUTH_CORNERS])


def aligned_face(image: Image, mesh: Floats) -> Image:
    """The face with landmarks (478, 3) in a picture (H, W, 3) uint8 RGB as ArcFace wants it, (112, 112, 3)."""
    transform = similarity(mesh[FIVE_POINTS, :2].astype(np.float64), TEMPLATE)
    face: Image = cv2.warpAffine(image, transform, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return face


def similarity(points: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation, one scale and shift, as (2, 3), that bring ``points`` (N, 2) nearest to ``targets`` (N, 2)."""
    centre, goal = points.mean(0), targets.mean(0)
    # As complex numbers a similarity is one factor, found by linear least squares.
    z, w = ((values - middle) @ (1, 1j) for values, middle in ((points, centre), (targets, goal)))
    factor = np.vdot(z, w) / np.vdot(z, z).real
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, goal - turn @ centre])


class CsimJudge(Judge):
    """Identity similarity by a face-recognition network.

    Args:
        path: an ONNX file as the module describes; None: the one that ``kptalk weights pull arcface`` got.

    Raises:
        MissingExtra: onnxruntime is not installed.
        WeightsError: the file is missing, damaged, or no network of that kind; or arcface has not been pulled.
    """

    columns = (
        Column(
            "csim",
            "CSIM",
            "",
            "higher",
            "cosine similarity of face embeddings, generated frame against the source (first real frame with a face), "
            f"mean over every {EVERY}th frame",
        ),
    )

    def __init__(self, path: Path | None = None) -> None:
        try:
            from onnxruntime import InferenceSession
        except ImportError as error:
            raise MissingExtra("CSIM needs onnxruntime: pip install 'kptalk[evaluate]'") from error
        path = official_path("arcface") if path is None else path
        if not path.is_file():
            raise WeightsError(f"face-recognition network {path} does not exist: give an ONNX file")
        try:
            self._session: Any = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no base class
            reason = str(error).splitlines()[0]
            raise WeightsError(f"{path} is no ONNX network that onnxruntime can open: {reason}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or list(inputs[0].shape[1:]) != [3, SIDE, SIDE] or len(outputs[0].shape) != 2:
            seen = "; ".join(f"{port.name} {port.shape}" for port in (*inputs, *outputs))
            raise WeightsError(
                f"{path} has {seen}; CSIM needs one input (N, 3, {SIDE}, {SIDE}) and an output (N, D), as ArcFace has"
            )
        self._sha256 = sha256(path)

    def start(self) -> CsimMeter:
        """A meter for the next clip."""
        return CsimMeter(self)

    def weights(self) -> Mapping[str, str]:
        """The network's sha256."""
        return {"arcface": self._sha256}

    def embedding(self, sight: Sight) -> Floats | None:
        """The face's embedding (D,) of length 1; None without a face."""
        if sight.mesh is None:
            return None
        pixels = aligned_face(sight.image, sight.mesh).transpose(2, 0, 1)[None].astype(np.float32)
        feed = {self._session.get_inputs()[0].name: (pixels - 127.5) / 127.5}
        vector: Floats = self._session.run(None, feed)[0][0]
        vector /= np.maximum(np.linalg.norm(vector), np.float32(1e-12))
        return vector


class CsimMeter:
    """Embeddings of one clip; frames without a face do not count."""

    def __init__(self, judge: CsimJudge) -> None:
        self._judge = judge
        self._source: Floats | None = None
        self._embeddings: list[Floats] = []
        self._frames = 0

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame; only every fifth one is measured, but each real one until a face is seen."""
        if self._source is None:
            self._source = self._judge.embedding(real)
        if self._frames % EVERY == 0 and (found := self._judge.embedding(generated)) is not None:
            self._embeddings.append(found)
        self._frames += 1

    def result(self, heard: Heard) -> Mapping[str, float]:
        """``csim``; NaN where the real video, or no measured frame of the generated one, has a face."""
        if self._source is None or not self._embeddings:
            return {"csim": float("nan")}
        return {"csim": float(np.mean(np.stack(self._embeddings) @ self._source))}
