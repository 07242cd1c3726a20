"""Faces: found in every portrait, small ones and several too; animals and plates are refused."""

import warnings

import cv2
import numpy as np
import pytest
from media_shared import picture, portrait_of
from skimage import data

from kptalk.errors import FaceNotFound, FaceTooSmall, OptionError
from kptalk.face.find import SMALLEST, Candidate, FoundFaces, find_faces, find_portrait
from kptalk.face.topology import EYE_CORNERS


def eyes(face):
    return np.linalg.norm(np.diff(face.landmarks[EYE_CORNERS].mean(1)[:, :2], axis=0))


def side(face):
    x0, y0, x1, y1 = face.box
    return max(x1 - x0, y1 - y0)


def on_canvas(image, height, width, x, y):
    canvas = np.full((height, width, 3), 120, np.uint8)
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return canvas


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


@pytest.fixture(scope="module")
def head():
    """A portrait of 512 x 512."""
    return cv2.resize(picture("grid_s2_1@0"), (512, 512))


def test_every_portrait_has_a_face(shared_data):
    paths = sorted((shared_data / "portraits").glob("*.jpg"))
    assert len(paths) >= 30
    for path in paths:
        portrait = portrait_of(path.stem)
        height, width = portrait.image.shape[:2]
        landmarks = portrait.face.landmarks
        assert landmarks.shape == (478, 3)
        inside = (landmarks[:, :2] > -0.05 * width).all(1) & (landmarks[:, :2] < (1.05 * width, 1.05 * height)).all(1)
        assert inside.mean() > 0.95, path
        assert side(portrait.face) >= SMALLEST


def test_astronaut(astronaut):
    face = find_portrait(astronaut).face
    x0, y0, x1, y1 = face.box
    assert 150 < x0 < x1 < 290
    assert 50 < y0 < y1 < 220


@pytest.mark.parametrize(
    ("pixels", "height", "width", "x", "y"), [(200, 1600, 2400, 1900, 1200), (260, 2400, 1000, 40, 30)]
)
def test_small_face_in_a_big_picture(head, pixels, height, width, x, y):
    small = cv2.resize(head, (pixels, pixels), interpolation=cv2.INTER_AREA)
    alone, face = find_portrait(head).face, find_portrait(on_canvas(small, height, width, x, y)).face
    expected = alone.landmarks[:, :2] * pixels / 512 + (x, y)
    assert np.linalg.norm(face.landmarks[:, :2] - expected, axis=1).mean() < 0.1 * eyes(face)


@pytest.mark.parametrize(("height", "width", "x", "y"), [(200, 4000, 2700, 0), (3000, 210, 5, 1700)])
def test_a_face_in_a_panorama(head, height, width, x, y):
    small = cv2.resize(head, (200, 200), interpolation=cv2.INTER_AREA)
    box = np.array(find_portrait(on_canvas(small, height, width, x, y)).face.box)
    assert np.abs(box - (np.array(find_portrait(head).face.box) * 200 / 512 + (x, y, x, y))).max() < 12


def test_faces_side_by_side_are_numbered_from_the_left():
    names = ["grid_s2_1@0", "grid_flbbc_1@0", "grid_msbia_1@0"]
    sizes = [300, 420, 300]
    canvas = np.full((420, sum(sizes), 3), 120, np.uint8)
    starts = np.cumsum([0, *sizes[:-1]])
    for name, start, size in zip(names, starts, sizes, strict=True):
        canvas[:size, start : start + size] = cv2.resize(picture(name), (size, size))
    faces = [each.face for each in find_faces(canvas).faces]
    assert len(faces) == 3
    for number, (face, start, size) in enumerate(zip(faces, starts, sizes, strict=True), 1):
        assert start <= np.mean(face.box[::2]) <= start + size
        chosen = find_portrait(canvas, number).face
        assert np.array_equal(chosen.landmarks, face.landmarks)
    with pytest.warns(UserWarning, match="3 faces found, using the largest"):
        largest = find_portrait(canvas)
    assert side(largest.face) == max(map(side, faces))
    for number in (0, 4, -1):
        with pytest.raises(OptionError, match="but only 3 found"):
            find_portrait(canvas, number)


def test_one_face_gives_no_warning(head):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_portrait(head)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "brick", "horse"])
def test_cats_coffee_and_drawn_horses_have_no_face(name):
    image = getattr(data, name)()
    image = 255 * image.astype(np.uint8) if image.dtype == bool else image
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, 2)
    with pytest.raises(FaceNotFound, match=f"{image.shape[1]}x{image.shape[0]}"):
        find_portrait(image)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (3, 3), (7, 900), (64, 64)])
def test_pictures_of_any_shape_without_a_face(shape):
    with pytest.raises(FaceNotFound):
        find_portrait(np.full((*shape, 3), 90, np.uint8))


def test_face_of_too_few_pixels(head):
    small = cv2.resize(head, (70, 70), interpolation=cv2.INTER_AREA)
    with pytest.raises(FaceTooSmall, match=f"at least {SMALLEST}"):
        find_portrait(on_canvas(small, 300, 300, 100, 100))


def test_a_face_on_its_side_is_told_to_be_turned(head, monkeypatch):
    """Where no position of the photo suits the face, as with one that lies among upright ones."""
    face = find_portrait(head).face
    lying = FoundFaces(head, 0, [Candidate(face, -85.0, 0.9)])
    monkeypatch.setattr("kptalk.face.find.find_faces", lambda image: lying)
    with pytest.raises(FaceNotFound, match="turned by 275 degrees in the picture: rotate the photo"):
        find_portrait(head)


def test_same_picture_same_landmarks(head):
    assert np.array_equal(find_portrait(head).face.landmarks, find_portrait(head).face.landmarks)
