"""FaceMesh: landmarks in pixels, for pictures and videos, alone and in batches, whatever array comes in."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from media_shared import CLIPS, clip_landmarks
from skimage import data

from kptalk.errors import ImageError
from kptalk.face import landmarks
from kptalk.face.landmarks import FaceMesh
from kptalk.media.clip import read_frames

BLACK = np.zeros((200, 200, 3), np.uint8)


@pytest.fixture(scope="module")
def face():
    return np.ascontiguousarray(data.astronaut()[:300, 80:380])


@pytest.fixture(scope="module")
def frames():
    return list(read_frames(CLIPS / "grid_mlbax_1.mp4", end=Fraction(4, 25)))


@pytest.fixture
def detections(monkeypatch):
    """How many pictures the detector has looked at, as the length of a list."""
    calls, real = [], landmarks.detect_with

    def counted(detector, images, *rest):
        calls.extend(images)
        return real(detector, images, *rest)

    monkeypatch.setattr(landmarks, "detect_with", counted)
    return calls


def test_landmarks_scale_with_the_picture(face):
    with FaceMesh() as mesh:
        small = mesh(face).landmarks
        large = mesh(cv2.resize(face, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)).landmarks
    assert small.shape == (478, 3)
    assert small.dtype == np.float32
    assert np.abs(large / 2 - small).mean() < 1.5


def test_nothing_where_there_is_no_face():
    assert FaceMesh()(BLACK) is None


def test_a_face_says_how_sure_the_network_is(face):
    assert 0.9 < FaceMesh()(face).presence <= 1


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 20, 3), (20, 0, 3), (1, 1, 3), (1, 300, 3), (1, 1), (2, 2, 4)])
@pytest.mark.parametrize("video", [False, True])
def test_pictures_too_small_for_a_face(shape, video):
    mesh = FaceMesh(video=video)
    assert mesh(np.full(shape, 90, np.uint8)) is None
    assert mesh(np.full(shape, 90, np.uint8)) is None


def test_an_empty_frame_is_one_without_a_face(frames):
    mesh = FaceMesh(video=True)
    assert [mesh(frame) is not None for frame in (frames[0], frames[0][:0], frames[0])] == [True, False, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: np.dstack([image, np.full(image.shape[:2], 7, np.uint8)]),
        lambda image: np.asfortranarray(image),
        lambda image: np.repeat(image, 2, 1)[:, ::2],
        lambda image: image[:, ::-1].copy()[:, ::-1],
    ],
)
def test_the_same_picture_in_other_arrays(face, change):
    changed = change(face)
    changed.flags.writeable = False
    assert np.array_equal(FaceMesh()(changed).landmarks, FaceMesh()(face).landmarks)


def test_grey_pictures_are_taken(face):
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    grey.flags.writeable = False
    found = FaceMesh()(grey)
    assert np.array_equal(found.landmarks, FaceMesh()(grey[..., None]).landmarks)
    assert np.abs(found.landmarks - FaceMesh()(face).landmarks).mean() < 2


@pytest.mark.parametrize(("shape", "dtype"), [((9, 9, 3), np.float32), ((9, 9, 2), np.uint8), (9, np.uint8)])
def test_what_is_no_picture_is_refused(shape, dtype):
    with pytest.raises(ImageError, match="not a picture"):
        FaceMesh()(np.zeros(shape, dtype))


def test_a_picture_too_long_for_opencv_is_refused():
    with pytest.raises(ImageError, match="40000x2 pixels: scale it to 32766 at most"):
        FaceMesh()(np.zeros((2, 40_000, 3), np.uint8))


def test_video_follows_the_face():
    landmarks = clip_landmarks(CLIPS / "grid_mlbax_1.mp4", 1.6)
    assert landmarks.shape == (40, 478, 3)
    steps = np.linalg.norm(np.diff(landmarks[:, 1, :2], axis=0), axis=1)
    assert steps.max() < 12


def test_the_detector_is_asked_only_where_the_face_was_lost(frames, detections):
    mesh = FaceMesh(video=True)
    asked = []
    for frame in [*frames[:2], BLACK, BLACK, *frames[2:]]:
        before = len(detections)
        found = mesh(frame) is not None
        asked.append((found, len(detections) - before))
    assert asked == [(True, 1), (True, 0), (False, 0), (False, 1), (True, 1), (True, 0)]


def test_reset_forgets_the_face(frames, detections):
    mesh = FaceMesh(video=True)
    first = mesh(frames[0])
    mesh.reset()
    assert np.array_equal(mesh(frames[0]).landmarks, first.landmarks)
    assert len(detections) == 2


def test_many_pictures_are_seen_as_one_by_one(face, frames):
    mesh = FaceMesh()
    pictures = [face, BLACK, *frames, BLACK[:0], np.ascontiguousarray(face[:, ::-1])] * 3
    for one, found in zip([mesh(picture) for picture in pictures], mesh.many(pictures), strict=True):
        assert (one is None) == (found is None)
        assert one is None or np.abs(one.landmarks - found.landmarks).max() < 0.01
    assert mesh.many([]) == []


def test_numbers_that_are_not_finite_are_no_face(face, monkeypatch):
    mesh = FaceMesh(video=True)
    real = mesh._network
    monkeypatch.setattr(mesh, "_network", lambda images: (real(images)[0] * np.nan, real(images)[1]))
    assert mesh(face) is None


def test_a_face_without_a_size_is_no_place_to_look_at(face, monkeypatch, detections):
    mesh = FaceMesh(video=True)
    real = mesh._network
    monkeypatch.setattr(mesh, "_network", lambda images: (real(images)[0] * 0, real(images)[1]))
    assert mesh(face) is not None
    assert mesh(face) is not None
    assert len(detections) == 2
