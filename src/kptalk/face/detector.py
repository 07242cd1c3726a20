"""Detection of faces, also small ones and several: boxes, key points and scores, as MediaPipe's two detectors do it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from kptalk.face.crop import as_rgb, as_tensor, whole
from kptalk.face.models import load_network
from kptalk.networks.face_detector import Detector, FullRangeDetector, ShortRangeDetector, anchors
from kptalk.types import Array, Image

NEAR, FAR = ShortRangeDetector, FullRangeDetector
CONFIDENCE = {NEAR: 0.5, FAR: 0.6}  # least score of an anchor that counts
OVERLAP = 0.3  # intersection over union, above which two boxes are of the same face
MAX_LOGIT = 100.0
BATCH_SIZE = 16  # pictures that a network looks at together


@dataclass(frozen=True)
class Detection:
    """A face that a detector found, in pixels of the picture; left and right are those of the picture.

    Attributes:
        box: x0, y0, x1, y1, from the brows to the chin, float32.
        keypoints: (6, 2) float32: left eye, right eye, tip of the nose, mouth, left ear, right ear.
        score: 0 to 1.
    """

    box: Array
    keypoints: Array
    score: float


def detect(image: Image, confidence: float | None = None) -> list[Detection]:
    """The faces in a picture (H, W, 3) uint8 RGB, best first.

    Both detectors are asked: the one for near faces and the one for faces up to five metres away. A face that both find
    is there twice.

    Args:
        image: the picture; one without pixels has no face.
        confidence: least score, 0 to 1; None for what each detector is usually asked for, ``CONFIDENCE``.

    Raises:
        ImageError: it is no picture.
    """
    return detect_many([image], confidence)[0]


def detect_many(images: Sequence[Image], confidence: float | None = None) -> list[list[Detection]]:
    """``detect`` for several pictures of any sizes, which the networks look at together."""
    far, near = detect_with(FAR, images, confidence), detect_with(NEAR, images, confidence)
    return [sorted(both, key=lambda found: -found.score) for both in map(list.__add__, far, near)]


def detect_boxes(image: Image, confidence: float | None = None) -> Array:
    """Boxes of the faces that ``detect`` finds, (N, 4) float32 as x0, y0, x1, y1 in pixels, best first."""
    return np.array([found.box for found in detect(image, confidence)], np.float32).reshape(-1, 4)


def detect_with(
    detector: type[Detector],
    images: Sequence[Image],
    confidence: float | None = None,
    device: torch.device | str = "cpu",
) -> list[list[Detection]]:
    """What one of the detectors, ``NEAR`` or ``FAR``, finds in each picture, best first."""
    network = load_network(detector, device)
    least = CONFIDENCE[detector] if confidence is None else confidence
    found: list[list[Detection]] = [[] for _ in images]
    seen = [(number, as_rgb(image)) for number, image in enumerate(images) if np.size(image)]
    for start in range(0, len(seen), BATCH_SIZE):
        batch = seen[start : start + BATCH_SIZE]
        regions = [whole(image, square=True) for _, image in batch]
        crops = [region.cut(image, detector.side) for region, (_, image) in zip(regions, batch, strict=True)]
        with torch.inference_mode():
            numbers, logits = network(as_tensor(crops).to(device) * (2 / 255) - 1)
            rows = (numbers / detector.side).cpu().numpy()
            scores = logits.clamp(-MAX_LOGIT, MAX_LOGIT).sigmoid().cpu().numpy()
        for (number, _), region, row, score in zip(batch, regions, rows, scores, strict=True):
            for points, best in _merged(*_decoded(row, score, _anchors(detector.cells), least)):
                points = region.to_picture(points)
                found[number].append(Detection(points[:2].reshape(4), points[2:], best))
    return found


@cache
def _anchors(cells: tuple[tuple[int, int], ...]) -> Array:
    return np.asarray(anchors(cells).numpy(), np.float32)


def _decoded(rows: Array, scores: Array, anchors: Array, least: float) -> tuple[Array, Array]:
    """Corners and key points (n, 8, 2) of the anchors with a score, in sides of the square; and the scores (n,)."""
    sound = (scores >= least) & (rows[:, 2:4] >= 0).all(1)
    rows, scores, anchors = rows[sound], scores[sound], anchors[sound, None]
    middle, half = rows[:, None, :2] + anchors, rows[:, None, 2:4] / 2
    keypoints = rows[:, 4:].reshape(-1, 6, 2) + anchors
    return np.concatenate([middle - half, middle + half, keypoints], 1), scores


def _merged(points: Array, scores: Array) -> list[tuple[Array, float]]:
    """Weighted non-maximum suppression: boxes of one face become their mean, weighted by their scores; best first."""
    found, order = [], np.argsort(-scores, kind="stable")
    while len(order):
        low, high = points[order, 0], points[order, 1]
        inner = np.clip(np.minimum(high, high[0]) - np.maximum(low, low[0]), 0, None).prod(1)
        area = (high - low).prod(1)
        same = inner > OVERLAP * (area + area[0] - inner)
        same[0] = True
        weights = scores[order[same], None, None]
        found.append(((points[order[same]] * weights).sum(0) / weights.sum(), float(scores[order[0]])))
        order = order[~same]
    return found
