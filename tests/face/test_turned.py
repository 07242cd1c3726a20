"""A turned photo is turned upright, or refused; no face is ever fitted to a head that stands on its hair."""

import warnings

import cv2
import numpy as np
import pytest
from media_shared import picture, portrait_of

from kptalk.errors import FaceError, FaceNotFound, OptionError
from kptalk.face import evidence, find
from kptalk.face.detector import Detection
from kptalk.face.evidence import NO_EVIDENCE, agreement, tilt
from kptalk.face.find import find_portrait
from kptalk.face.topology import EYE_CORNERS, OVAL
from kptalk.types import Face

OWN = ["astronaut", "grid_s2_1@0", "grid_flbbc_1@0"]  # in the repository
OTHERS = [
    "anitalker_Einstein",
    "lia_monroe",
    "hallo_6",
    "joyvasa_joyvasa_005",
    "liveportrait_s1",
    "liveportrait_s9",  # a painting
    "sadtalker_art_20",  # a drawing
    "sadtalker_art_8",  # tilted by 20 degrees
    "liveportrait_s6",
]
NAMES = OWN + [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]
WAYS = {90: "90 degrees clockwise", 180: "180 degrees", 270: "90 degrees counter-clockwise"}


def turned(image, degrees):
    """A photo turned clockwise, and the (2, 3) matrix from its pixels before; corners are grey."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    size = np.abs(matrix[:, :2]) @ (width, height)
    matrix[:, 2] += (size - (width, height)) / 2
    return cv2.warpAffine(image, matrix, tuple(map(int, size)), borderValue=(128, 128, 128)), matrix


def eye_distance(landmarks):
    return np.linalg.norm(np.diff(landmarks[EYE_CORNERS].mean(1), axis=0))


@pytest.mark.parametrize("degrees", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_photo_on_its_side_or_head_is_turned_upright(name, degrees):
    upright = portrait_of(name)
    photo = np.ascontiguousarray(np.rot90(upright.image, -degrees // 90))
    with pytest.warns(UserWarning, match=f"the photo is turned by {WAYS[degrees]}: turned upright"):
        portrait = find_portrait(photo)
    assert np.array_equal(portrait.image, upright.image)
    assert np.array_equal(portrait.face.landmarks, upright.face.landmarks)


@pytest.mark.parametrize("degrees", [30, 60, 120, 150])
@pytest.mark.parametrize("name", NAMES)
def test_a_face_at_any_other_angle_is_right_or_refused(name, degrees):
    own = portrait_of(name)
    photo, matrix = turned(own.image, degrees)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            portrait = find_portrait(photo)
        except FaceError:
            return
    expected = own.face.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    height, width = photo.shape[:2]
    positions = [
        expected,
        np.column_stack([height - 1 - expected[:, 1], expected[:, 0]]),
        (width - 1, height - 1) - expected,
        np.column_stack([expected[:, 1], width - 1 - expected[:, 0]]),
    ]
    away = [np.linalg.norm(portrait.face.landmarks[:, :2] - each, axis=1).mean() for each in positions]
    assert min(away) < 0.12 * eye_distance(expected)
    assert abs(tilt(portrait.face)) <= find.MOST_TILT


@pytest.mark.slow
def test_no_portrait_is_lost_or_turned(shared_data):
    for path in sorted((shared_data / "portraits").glob("*.jpg")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(portrait_of(path.stem).image, picture(path.stem)), path


def test_rotate_no_refuses_a_turned_photo_and_takes_an_upright_one():
    photo = picture("astronaut")
    assert np.array_equal(find_portrait(photo, rotate="no").image, photo)
    for degrees, way in WAYS.items():
        with pytest.raises(FaceNotFound, match=f"turned by {way}: rotate it"):
            find_portrait(np.ascontiguousarray(np.rot90(photo, -degrees // 90)), rotate="no")


def test_an_upright_photo_is_looked_at_once(monkeypatch):
    """The search costs an upright photo nothing."""
    looks = []
    for module in (find, evidence):
        known = module.detect
        monkeypatch.setattr(module, "detect", lambda *args, known=known: looks.append(1) or known(*args))
    find_portrait(picture("astronaut"))
    assert len(looks) == 1


def test_numbers_count_in_the_upright_photo():
    left, right = (cv2.resize(picture(name), (320, 320)) for name in OWN[1:])
    upright = np.concatenate([left, right], 1)
    photo = np.ascontiguousarray(upright[::-1, ::-1])
    for number, start in ((1, 0), (2, 320)):
        with pytest.warns(UserWarning, match="turned by 180 degrees"):
            portrait = find_portrait(photo, number)
        assert start < np.mean(portrait.face.box[::2]) < start + 320
        assert np.array_equal(portrait.image, upright)


def test_of_two_opposite_faces_the_one_on_its_head_is_refused():
    photo = np.full((420, 760, 3), 120, np.uint8)
    photo[:, :420] = cv2.resize(picture(OWN[1]), (420, 420))
    photo[:300, 440:740] = cv2.resize(picture(OWN[2]), (300, 300))[::-1, ::-1]
    portrait = find_portrait(photo, 1)
    assert np.array_equal(portrait.image, photo)
    assert portrait.face.box[2] < 420
    with pytest.raises((FaceNotFound, OptionError), match=r"turned by 180 degrees|only 1 found"):
        find_portrait(photo, 2)


def test_key_points_of_detector_and_mesh_must_agree(monkeypatch):
    def detect(image, confidence=None, own=find.detect):
        """Mouth and eyes have changed places, as where a face stands on its head."""
        return [Detection(each.box, each.keypoints[[3, 3, 2, 0, 4, 5]], each.score) for each in own(image, confidence)]

    monkeypatch.setattr(find, "TILES", (1,))
    monkeypatch.setattr(find, "detect", detect)
    monkeypatch.setattr(evidence, "detect", detect)
    with pytest.raises(FaceNotFound, match="eyes, nose and mouth do not agree"):
        find_portrait(picture("astronaut"))


def test_agreement_falls_with_distance_and_is_nothing_without_detections():
    face = portrait_of("astronaut").face
    points = np.concatenate([evidence._points(face), np.zeros((2, 2), np.float32)])
    perfect = Detection(np.zeros(4, np.float32), points, 0.9)
    eyes = np.linalg.norm(points[0] - points[1])
    away = Detection(perfect.box, points + np.array([eyes / 10, 0], np.float32), 0.95)
    assert agreement(face, []) == NO_EVIDENCE
    assert agreement(face, [perfect]) == pytest.approx(0.9)
    assert agreement(face, [away]) == pytest.approx(0.85, abs=0.02)
    assert agreement(face, [away, perfect]) == pytest.approx(0.9)


@pytest.mark.parametrize("degrees", [0, 30, 90, 170, -60])
def test_tilt_is_clockwise(degrees):
    face = portrait_of("astronaut").face
    level = tilt(face)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.column_stack([face.landmarks[:, :2] @ turn.T, face.landmarks[:, 2]])
    difference = tilt(Face(points.astype(np.float32))) - level - degrees
    assert (difference + 180) % 360 - 180 == pytest.approx(0, abs=0.1)


@pytest.fixture(scope="module")
def landmarks():
    return portrait_of("grid_s2_1@0").face.landmarks


def test_lips_outside_the_photo_are_refused(landmarks):
    photo = picture("grid_s2_1@0")
    for height in (landmarks[2, 1], landmarks[0, 1]):  # below the nose, above the lips
        with pytest.raises(FaceError, match="the lips lie outside the photo"):
            find_portrait(np.ascontiguousarray(photo[: int(height)]))


def test_half_a_face_is_warned_of(landmarks):
    photo = picture("grid_s2_1@0")
    middle_of_eye = landmarks[EYE_CORNERS[0], 0].mean()
    with pytest.warns(UserWarning, match=r"\d\d% of the face lies outside the photo"):
        find_portrait(np.ascontiguousarray(photo[:, int(middle_of_eye) :]))


def test_a_tight_crop_is_no_half_face(landmarks):
    x0, y0 = landmarks[OVAL, :2].min(0).astype(int) - 4
    x1, y1 = landmarks[OVAL, :2].max(0).astype(int) + 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_portrait(np.ascontiguousarray(picture("grid_s2_1@0")[max(0, y0) : y1, x0:x1]))
