"""Landmarks of a face: 478 points with irises, as MediaPipe's FaceMesh finds them in pictures and follows in videos."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch

from kptalk.face.crop import Region, as_rgb, as_tensor
from kptalk.face.detector import BATCH_SIZE, NEAR, Detection, detect_with
from kptalk.face.geometry import square_around
from kptalk.face.models import load_network
from kptalk.face.topology import EYE_CORNERS
from kptalk.networks.face_landmarks import SIDE, FaceLandmarkNetwork
from kptalk.types import Array, Face, Image

N_LANDMARKS = 478
REGION_SCALE = 1.5  # side of the square that the network looks at, in longer sides of the face's box
MIN_PRESENCE = 0.5  # probability below which the network does not look at a face
OUTER_CORNERS = EYE_CORNERS[[0, 1], [0, 1]]  # of the eyes


class FaceMesh(AbstractContextManager["FaceMesh"]):
    """478 landmarks of the face in a picture, or in the frames of a video.

    Args:
        video: True looks for the face where it was in the frame before (smoother, faster), and asks the detector only
            after frames without one; False treats every picture by itself.
        confidence: least score of a detection, 0 to 1.
        device: where the networks compute.
    """

    def __init__(self, *, video: bool = False, confidence: float = 0.5, device: torch.device | str = "cpu") -> None:
        self._video, self._confidence, self._device = video, confidence, device
        self._network = load_network(FaceLandmarkNetwork, device)
        self._region: Region | None = None

    def __exit__(self, *_: object) -> None:
        self.reset()

    def __call__(self, image: Image) -> Face | None:
        """The face of one picture (H, W, 3) uint8 RGB, or None where there is none.

        Raises:
            ImageError: it is no picture.
        """
        if self._region is None or not np.size(image):
            (face,) = self.many([image])
        else:
            (face,) = self._faces([as_rgb(image)], [self._region])
        self._region = _around_face(face) if self._video and face else None
        return face

    def reset(self) -> None:
        """Forget where the face was: the detector looks for it in the next frame."""
        self._region = None

    def look_at(self, found: Detection) -> None:
        """Look in the next frame where a detector found this face."""
        self._region = _around_detection(found)

    def many(self, images: Sequence[Image]) -> list[Face | None]:
        """The face of each picture by itself, of any sizes; the networks look at several together."""
        detections = detect_with(NEAR, images, self._confidence, self._device)
        found: list[Face | None] = [None] * len(images)
        around = [(number, _around_detection(detected[0])) for number, detected in enumerate(detections) if detected]
        seen = [(number, region) for number, region in around if region]
        for start in range(0, len(seen), BATCH_SIZE):
            numbers, regions = zip(*seen[start : start + BATCH_SIZE], strict=True)
            faces = self._faces([as_rgb(images[number]) for number in numbers], regions)
            for number, face in zip(numbers, faces, strict=True):
                found[number] = face
        return found

    def _faces(self, images: Sequence[Image], regions: Sequence[Region]) -> list[Face | None]:
        """What the network sees in one region of each picture (H, W, 3)."""
        crops = [region.cut(image, SIDE, repeat_edges=True) for image, region in zip(images, regions, strict=True)]
        with torch.inference_mode():
            landmarks, logits = self._network(as_tensor(crops).to(self._device) / 255)
            points, presence = landmarks.cpu().numpy(), logits.sigmoid().cpu().numpy()
        return [_face(*seen) for seen in zip(points, presence, regions, strict=True)]


def _face(points: Array, presence: float, region: Region) -> Face | None:
    """Landmarks (478, 3) in pixels of the network's picture to those of the whole; None where no face was seen."""
    if not (presence > MIN_PRESENCE and np.isfinite(points).all()):
        return None
    points = points / np.float32(SIDE)
    depth = points[:, 2:] * np.float32(region.width)
    return Face(np.concatenate([region.to_picture(points[:, :2]), depth], 1), float(presence))


def _around_face(face: Face) -> Region | None:
    return _square(face.box, *face.landmarks[OUTER_CORNERS, :2])


def _around_detection(found: Detection) -> Region | None:
    return _square(found.box, *found.keypoints[:2])


def _square(box: Sequence[float] | Array, left: Array, right: Array) -> Region | None:
    """The square about a box that is level with the line between two points; None for a box without a size."""
    x, y, side = square_around(box, REGION_SCALE)
    across = right - left
    angle = float(np.arctan2(across[1], across[0]))
    return Region(x, y, side, side, angle) if 0 < side < np.inf else None
