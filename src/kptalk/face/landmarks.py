"""Face landmarks: the only user of MediaPipe, behind one small class, so that it can be replaced.

MediaPipe's legacy FaceMesh with irises gives 478 points. Its z is scaled by the width of the picture.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from kptalk.types import Array, Face, Image

N_LANDMARKS = 478


class _Silence:
    """Counts who wants quiet: the first one silences, the last one to leave restores."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.wanted = 0
        self.saved = -1

    def begin(self) -> None:
        with self.lock:
            if not self.wanted:
                sys.stderr.flush()
                self.saved = os.dup(2)
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)
            self.wanted += 1

    def end(self) -> None:
        with self.lock:
            self.wanted -= 1
            if not self.wanted:
                os.dup2(self.saved, 2)
                os.close(self.saved)


_silence = _Silence()


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Throw away what is written to file descriptor 2 meanwhile; threads may do so at the same time.

    MediaPipe's C++ threads write notices there while a graph starts and at its first face.
    """
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


class FaceMesh:
    """478 landmarks of each face in a picture, or in the frames of a video.

    Args:
        video: True follows the faces from frame to frame (smoother, faster); False treats every picture by itself.
        max_faces: how many faces to look for at most.
        confidence: least detection confidence, 0 to 1.
    """

    def __init__(self, *, video: bool = False, max_faces: int = 1, confidence: float = 0.5) -> None:
        with native_stderr_silenced():
            from mediapipe.python.solutions.face_mesh import FaceMesh as Graph

            self._graph: Any = Graph(
                static_image_mode=not video,
                refine_landmarks=True,
                max_num_faces=max_faces,
                min_detection_confidence=confidence,
            )
            self._graph.process(np.zeros((64, 64, 3), np.uint8))  # waits until every part of the graph has started
        self._seen_a_face = False

    def __enter__(self) -> FaceMesh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._graph.close()

    def __call__(self, image: Image) -> list[Face]:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first; an empty list where there is none."""
        image = np.ascontiguousarray(image)
        if self._seen_a_face:
            result = self._graph.process(image)
        else:
            with native_stderr_silenced():
                result = self._graph.process(image)
            self._seen_a_face = bool(result.multi_face_landmarks)
        height, width = image.shape[:2]
        size = np.array([width, height, width], np.float32)
        faces = [
            Face(np.array([(p.x, p.y, p.z) for p in found.landmark], np.float32) * size)
            for found in result.multi_face_landmarks or []
        ]
        return sorted(faces, key=_area, reverse=True)


def detect_boxes(image: Image, confidence: float = 0.5) -> Array:
    """Boxes of the faces in a picture, also small ones, (N, 4) float32 as x0, y0, x1, y1 in pixels, best first.

    Both of MediaPipe's detectors are asked: the one for near faces and the one for faces up to five metres away.
    """
    height, width = image.shape[:2]
    boxes: list[tuple[float, float, float, float, float]] = []
    with native_stderr_silenced():
        from mediapipe.python.solutions.face_detection import FaceDetection

        for model in (1, 0):
            with FaceDetection(model_selection=model, min_detection_confidence=confidence) as detector:
                for found in detector.process(np.ascontiguousarray(image)).detections or []:
                    box = found.location_data.relative_bounding_box
                    x, y = box.xmin * width, box.ymin * height
                    boxes.append((found.score[0], x, y, x + box.width * width, y + box.height * height))
    boxes.sort(reverse=True)
    return np.array([box[1:] for box in boxes], np.float32).reshape(-1, 4)


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)
