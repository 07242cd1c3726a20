"""The largest face in a video's frames, near and far."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from media_shared import CLIPS

from kptalk.face.follow import FaceFollower
from kptalk.face.landmarks import FaceMesh
from kptalk.media.clip import read_frames


@pytest.fixture(scope="module")
def frames():
    """Ten frames of a clip that is filled by head and shoulders, (10, 256, 256, 3)."""
    return np.stack(list(read_frames(CLIPS / "grid_mlbax_1.mp4", end=Fraction(10, 25))))


@pytest.fixture(scope="module")
def landmarks(frames):
    with FaceMesh(video=True) as mesh:
        return [mesh(frame).landmarks for frame in frames]


def placed(picture, x, y, width=1280, height=720):
    canvas = np.full((height, width, 3), 90, np.uint8)
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas


def followed(pictures):
    with FaceFollower() as follow:
        return [follow(picture) for picture in pictures]


def test_a_near_face_is_seen_as_by_facemesh(frames, landmarks):
    for face, wanted in zip(followed(frames), landmarks, strict=True):
        assert np.abs(face.landmarks - wanted).mean() < 1.0  # pixels


def test_the_first_frame_is_as_good_as_the_others(frames):
    """The tracker's own first look is often far off, and relative motion counts from the first frame."""
    small = placed(cv2.resize(frames[5], (256, 256)), 600, 60)
    first, *_, last = followed([small] * 6)
    assert np.abs(first.landmarks - last.landmarks).mean() < 1.0


def test_a_far_face_is_followed_as_it_moves(frames, landmarks):
    places = [(100 + 60 * k, 40 + 20 * k) for k in range(10)]
    faces = followed([placed(frame, *place) for frame, place in zip(frames, places, strict=True)])
    for face, place, wanted in zip(faces, places, landmarks, strict=True):
        away = face.landmarks[:, :2] - place - wanted[:, :2]
        assert np.abs(away).mean() < 2.5  # pixels, of a face of 120
        depth, own = (mesh[:, 2] - mesh[:, 2].mean() for mesh in (face.landmarks, wanted))
        assert depth.std() == pytest.approx(own.std(), rel=0.15)


def test_a_far_face_that_comes_near_and_is_lost_in_between(frames, landmarks):
    share = np.ptp(landmarks[5][:, 1]) / 256  # of the picture's height
    sizes = [round(256 * 1.04**k) for k in range(14)] + [0, 0, 256, 256]
    pictures = [
        placed(cv2.resize(frames[5], (side, side)), 600, 60) if side else placed(frames[5][:0], 0, 0) for side in sizes
    ]
    faces = followed(pictures)
    assert [face is not None for face in faces] == [side > 0 for side in sizes]
    for face, side in zip(faces, sizes, strict=True):
        if face is not None:
            assert np.ptp(face.landmarks[:, 1]) == pytest.approx(share * side, rel=0.08)


def test_of_two_far_faces_the_larger_one_is_followed(frames):
    picture = placed(cv2.resize(frames[0], (360, 360)), 800, 100)
    picture[100:356, 100:356] = frames[0]
    for face in followed([picture] * 3):
        assert face.landmarks[:, 0].mean() > 800


def test_no_face(frames):
    assert followed([np.zeros((360, 640, 3), np.uint8)] * 2) == [None, None]
