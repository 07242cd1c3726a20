"""What MediaPipe sees: face landmarks, face boxes and the person's outline. Its only user, so that it can be replaced.

The legacy FaceMesh with irises gives 478 points. Its z is scaled by the width of the picture.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from kptalk.face.notices import expected_notices
from kptalk.types import Array, Face, Image

N_LANDMARKS = 478


class FaceMesh(AbstractContextManager["FaceMesh"]):
    """478 landmarks of the face in a picture, or in the frames of a video.

    Args:
        video: True follows the face from frame to frame (smoother, faster); False treats every picture by itself.
        confidence: least detection confidence, 0 to 1.
    """

    def __init__(self, *, video: bool = False, confidence: float = 0.5) -> None:
        with expected_notices():
            from mediapipe.python.solutions.face_mesh import FaceMesh as Graph

            self._graph: Any = Graph(
                static_image_mode=not video, max_num_faces=1, refine_landmarks=True, min_detection_confidence=confidence
            )
            self._graph.process(np.zeros((64, 64, 3), np.uint8))  # waits until every part of the graph has started
        self._seen_a_face = False

    def __exit__(self, *_: object) -> None:
        self._graph.close()

    def __call__(self, image: Image) -> Face | None:
        """The face of one picture (H, W, 3) uint8 RGB, or None where there is none."""
        with nullcontext() if self._seen_a_face else expected_notices():
            result = self._graph.process(np.ascontiguousarray(image))
        if not result.multi_face_landmarks:
            return None
        self._seen_a_face = True
        height, width = image.shape[:2]
        points = np.array([(p.x, p.y, p.z) for p in result.multi_face_landmarks[0].landmark], np.float32)
        return Face(points * np.array([width, height, width], np.float32))


@dataclass(frozen=True)
class Detection:
    """A face that a detector has found.

    Attributes:
        box: (4,) float32, x0, y0, x1, y1 in pixels.
        keypoints: (6, 2) float32, in pixels: the person's right eye, left eye, nose tip, mouth, right ear, left ear.
        score: 0 to 1.
    """

    box: Array
    keypoints: Array
    score: float


def detect(image: Image, confidence: float = 0.5) -> list[Detection]:
    """The faces in a picture, also small ones, best first.

    Both of MediaPipe's detectors are used: the one for near faces and the one for faces up to five metres away.
    """
    height, width = image.shape[:2]
    size = np.array([width, height], np.float32)
    faces: list[Detection] = []
    with expected_notices():
        from mediapipe.python.solutions.face_detection import FaceDetection

        for model in (1, 0):
            with FaceDetection(model_selection=model, min_detection_confidence=confidence) as detector:
                for found in detector.process(np.ascontiguousarray(image)).detections or []:
                    box = found.location_data.relative_bounding_box
                    corners = np.array([[box.xmin, box.ymin], [box.xmin + box.width, box.ymin + box.height]])
                    points = np.array([(p.x, p.y) for p in found.location_data.relative_keypoints])
                    placed = (corners * size).astype(np.float32).ravel(), (points * size).astype(np.float32)
                    faces.append(Detection(*placed, found.score[0]))
    return sorted(faces, key=lambda face: -face.score)


def detect_boxes(image: Image, confidence: float = 0.5) -> Array:
    """The boxes of ``detect``, (N, 4) float32."""
    return np.array([face.box for face in detect(image, confidence)], np.float32).reshape(-1, 4)


def segment_person(image: Image) -> Array:
    """Probability of a person, (h, w) float32, for a picture (h, w, 3) uint8 RGB: MediaPipe's selfie segmentation."""
    with expected_notices():
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        with SelfieSegmentation(model_selection=0) as graph:
            return np.asarray(graph.process(np.ascontiguousarray(image)).segmentation_mask, np.float32)
