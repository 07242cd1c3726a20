"""Writes what MediaPipe itself finds, ``tests/data/golden_landmarks.npz``, which the tests compare ours with.

    pip install mediapipe==0.10.21
    PYTHONPATH=tests/helpers python training/golden_landmarks.py

Pictures and clips are referred to by the names of ``tests/helpers/media_shared.py``; none are stored. Some are outside
the repository (the ``shared`` folder beside it is needed). Everything is float32, in pixels:

* ``landmarks/NAME`` (478, 3): FaceMesh on the picture; ``tracked/NAME`` (T, 478, 3): on the first frames of the clip.
* ``near/NAME``, ``far/NAME`` (N, 17): what the detectors found: box, six key points, score.
* ``mask/NAME`` (32, 32): segmentation, averaged.
"""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from media_shared import clip_path, picture
from mediapipe.python.solutions.face_detection import FaceDetection
from mediapipe.python.solutions.face_mesh import FaceMesh
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

from kptalk.media.clip import read_frames

FILE = Path(__file__).resolve().parents[1] / "tests" / "data" / "golden_landmarks.npz"
FREE = ("astronaut", "grid_flbbc_1@0", "grid_flrwp_1@30", "grid_mlbax_1@0", "grid_msbia_1@10", "grid_s2_1@0")
PORTRAITS = ("hallo_5", "hdtf_MarkwayneMullin", "liveportrait_s0", "liveportrait_s9", "sadtalker_art_10")
CLIP, FRAMES = "grid_mlbax_1", 12


def main() -> None:
    found = {}
    mesh = FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True)
    detectors = {"near": FaceDetection(model_selection=0), "far": FaceDetection(model_selection=1)}
    segmentation = SelfieSegmentation(model_selection=0)
    for name in FREE + PORTRAITS:
        image = np.ascontiguousarray(picture(name))
        found[f"landmarks/{name}"] = landmarks(mesh, image)
        for kind, detector in detectors.items():
            found[f"{kind}/{name}"] = detections(detector, image)
        mask = segmentation.process(image).segmentation_mask
        found[f"mask/{name}"] = cv2.resize(mask, (32, 32), interpolation=cv2.INTER_AREA)
    tracker = FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True)
    frames = read_frames(clip_path(CLIP), end=Fraction(FRAMES, 25))
    found[f"tracked/{CLIP}"] = np.stack([landmarks(tracker, frame) for frame in frames])
    np.savez_compressed(FILE, **{name: np.asarray(value, np.float32) for name, value in found.items()})


def landmarks(mesh: FaceMesh, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    (face,) = mesh.process(image).multi_face_landmarks
    return np.array([(p.x * width, p.y * height, p.z * width) for p in face.landmark])


def detections(detector: FaceDetection, image: np.ndarray) -> np.ndarray:
    size = np.array(image.shape[1::-1])
    rows = []
    for found in detector.process(image).detections or []:
        place = found.location_data
        box = place.relative_bounding_box
        corners = [(box.xmin, box.ymin), (box.xmin + box.width, box.ymin + box.height)]
        points = corners + [(point.x, point.y) for point in place.relative_keypoints]
        rows.append([*(np.array(points) * size).ravel(), found.score[0]])
    return np.reshape(rows, (-1, 17))


if __name__ == "__main__":
    main()
