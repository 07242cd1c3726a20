"""Detection: boxes and key points in pixels, far faces too, several pictures at once."""

import cv2
import numpy as np
import pytest
from media_shared import picture
from skimage import data

from kptalk.errors import ImageError
from kptalk.face.detector import FAR, NEAR, detect, detect_boxes, detect_many, detect_with
from kptalk.face.landmarks import FaceMesh
from kptalk.face.topology import EYE_CORNERS, IRISES


@pytest.fixture(scope="module")
def face():
    return np.ascontiguousarray(data.astronaut()[:300, 80:380])


def test_boxes_hold_the_face(face):
    boxes = detect_boxes(face)
    assert boxes.shape[1] == 4
    x0, y0, x1, y1 = boxes[0]
    nose = FaceMesh()(face).landmarks[1]
    assert x0 < nose[0] < x1
    assert y0 < nose[1] < y1
    assert detect_boxes(np.zeros((100, 100, 3), np.uint8)).shape == (0, 4)


def test_keypoints_are_where_the_mesh_sees_them(face):
    mesh = FaceMesh()(face).landmarks[:, :2]
    expected = [*mesh[IRISES[:, 0]], mesh[1], mesh[[13, 14]].mean(0), mesh[234], mesh[454]]
    across = np.linalg.norm(np.diff(mesh[EYE_CORNERS].mean(1), axis=0))
    found = detect(face)
    assert len(found) == 2  # one of each detector
    for detection in found:
        assert detection.keypoints.shape == (6, 2)
        assert np.linalg.norm(detection.keypoints - expected, axis=1).max() < 0.25 * across
        assert 0.5 <= detection.score <= 1


def test_a_turned_face_has_turned_eyes(face):
    turn = cv2.getRotationMatrix2D((150, 130), -20, 1)  # OpenCV turns against the clock
    left, right = detect_with(NEAR, [cv2.warpAffine(face, turn, (300, 300))])[0][0].keypoints[:2]
    own_left, own_right = detect_with(NEAR, [face])[0][0].keypoints[:2]
    angles = [np.degrees(np.arctan2(*(b - a)[::-1])) for a, b in ((left, right), (own_left, own_right))]
    assert angles[0] - angles[1] == pytest.approx(20, abs=5)


def test_a_far_face_is_found_by_the_one_detector_only():
    canvas = np.full((720, 1280, 3), 120, np.uint8)
    small = cv2.resize(picture("grid_s2_1@0"), (240, 240), interpolation=cv2.INTER_AREA)
    canvas[300:540, 900:1140] = small
    assert detect_with(NEAR, [canvas]) == [[]]
    ((found,),) = detect_with(FAR, [canvas])
    x0, y0, x1, y1 = found.box
    assert 900 < x0 < x1 < 1140
    assert 300 < y0 < y1 < 540


def test_the_best_comes_first_and_confidence_bounds_it(face):
    scores = [found.score for found in detect(face, 0.05)]
    assert scores == sorted(scores, reverse=True)
    assert detect(face, 1.0) == []


def test_several_pictures_are_seen_as_one_by_one(face):
    pictures = [face, np.zeros((0, 5, 3), np.uint8), face[:, ::-1], data.astronaut(), face[:1, :1], face[..., 0]] * 4
    together = detect_many(pictures)
    for image, found in zip(pictures, together, strict=True):
        alone = detect(image)
        assert len(alone) == len(found)
        for a, b in zip(alone, found, strict=True):
            assert np.abs(a.box - b.box).max() < 0.01
            assert np.abs(a.keypoints - b.keypoints).max() < 0.01
    assert detect_many([]) == []


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError, match=r"float64 of shape \(4, 4, 3\)"):
        detect(np.ones((4, 4, 3)))
