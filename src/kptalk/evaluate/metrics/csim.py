"""CSIM: does the face stay the portrait's? Cosine similarity of face-recognition embeddings.

    CSIM = mean over frames of <e(generated frame), e(source)> / (|e(generated frame)| |e(source)|)

The source is the portrait that the video was made from: in the papers' protocol the first frame of the real video (here
the first one in which a face is seen). The real video's own number, below 1, is what pose and expression alone cost.

The network e is the user's choice: an ONNX file with one input of N RGB pictures (N, 3, 112, 112) as
(value - 127.5) / 127.5, the convention of InsightFace's ArcFace models, and one output (N, D). Faces are brought to
ArcFace's five points (Deng et al., CVPR 2019) by the least-squares similarity transform (Umeyama 1991).
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kptalk.errors import WeightsError
from kptalk.evaluate.metric import EVERY, AudioPair, FrameSample, NetworkMetric, require_extra, specs
from kptalk.face.geometry import align
from kptalk.face.topology import IRISES, MOUTH_CORNERS
from kptalk.types import Array, Floats, Image

SIDE = 112  # pixels of the aligned face
# Eyes, nose tip, mouth corners in the aligned face; left and right are those of the picture.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
NOSE_TIP = 4
FIVE_POINTS = np.array([IRISES[0, 0], IRISES[1, 0], NOSE_TIP, *MOUTH_CORNERS])


def aligned_face(image: Image, mesh: Array) -> Image:
    """The face with landmarks (478, 3) in a picture (H, W, 3) uint8 RGB as ArcFace wants it, (112, 112, 3)."""
    transform = similarity(mesh[FIVE_POINTS, :2].astype(np.float64), TEMPLATE)
    return np.asarray(cv2.warpAffine(image, transform, (SIDE, SIDE), flags=cv2.INTER_LINEAR))


def similarity(points: Floats, targets: Floats) -> Floats:
    """Rotation, one scale and shift, as (2, 3), that bring ``points`` (N, 2) nearest to ``targets`` (N, 2)."""
    flat, flat_targets = (np.pad(values, ((0, 0), (0, 1))) for values in (points, targets))  # on the plane z = 0
    scale, rotation, shift = align(flat_targets[None], flat, np.ones(len(points)))
    return np.column_stack([scale * rotation[0, :2, :2].T, shift[0, :2]])


class CsimMetric(NetworkMetric):
    """Identity similarity by a face-recognition network, an ONNX file as the module describes.

    Only every fifth generated frame is measured; frames without a face do not count. NaN where the real video, or no
    measured frame of the generated one, has a face.
    """

    network, requires = "arcface", ("onnxruntime", "CSIM")
    columns = specs("csim")

    def load(self, path: Path) -> Any:
        if not path.is_file():
            raise WeightsError(f"face-recognition network {path} does not exist: give an ONNX file")
        try:
            session = require_extra(*self.requires).InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no base class
            raise WeightsError(f"cannot load {path} as an ONNX model: {str(error).splitlines()[0]}") from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or list(inputs[0].shape[1:]) != [3, SIDE, SIDE] or len(outputs[0].shape) != 2:
            found = "; ".join(f"{port.name} {port.shape}" for port in (*inputs, *outputs))
            raise WeightsError(
                f"{path} has {found}; CSIM needs one input (N, 3, {SIDE}, {SIDE}) and an output (N, D), as ArcFace has"
            )
        return session

    def reset(self) -> None:
        self._source: Array | None = None
        self._embeddings: list[Array] = []
        self._frames = 0

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        if self._source is None:
            self._source = self.embedding(real)
        if self._frames % EVERY == 0 and (found := self.embedding(generated)) is not None:
            self._embeddings.append(found)
        self._frames += 1

    def compute(self, audio: AudioPair) -> dict[str, float]:
        if self._source is None or not self._embeddings:
            return self.no_result()
        return {"csim": float(np.mean(np.stack(self._embeddings) @ self._source))}

    def embedding(self, frame: FrameSample) -> Array | None:
        """The face's embedding (D,) of length 1; None without a face."""
        if frame.mesh is None:
            return None
        pixels = aligned_face(frame.image, frame.mesh).transpose(2, 0, 1)[None].astype(np.float32)
        vector: Array = self._network.run(None, {self._network.get_inputs()[0].name: (pixels - 127.5) / 127.5})[0][0]
        vector /= np.maximum(np.linalg.norm(vector), np.float32(1e-12))
        return vector
