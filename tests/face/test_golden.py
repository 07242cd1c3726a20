"""Our networks against MediaPipe's own results; training/golden_landmarks.py wrote them."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from media_shared import TESTS, clip_path, picture

from kptalk.face.detector import FAR, NEAR, detect_with
from kptalk.face.landmarks import FaceMesh
from kptalk.face.segmentation import segment_person
from kptalk.media.clip import read_frames

FILE = TESTS / "data" / "golden_landmarks.npz"
with np.load(FILE) as golden:
    GOLDEN = dict(golden)
PICTURES = [name.removeprefix("landmarks/") for name in GOLDEN if name.startswith("landmarks/")]
# Pixels. Where a picture is shrunk to the detector's 128 pixels, positions fall between the 32 steps that OpenCV knows
# from one pixel to the next, and the two implementations round apart.
STATIC = {"sadtalker_art_10": 0.5}


def distances(found, expected):
    return np.linalg.norm(found.landmarks[:, :2] - expected[:, :2], axis=1)


@pytest.mark.parametrize("name", PICTURES)
def test_landmarks_of_pictures(name):
    found, expected = FaceMesh()(picture(name)), GOLDEN[f"landmarks/{name}"]
    assert distances(found, expected).max() < STATIC.get(name, 0.1)
    assert np.abs(found.landmarks[:, 2] - expected[:, 2]).max() < 5 * STATIC.get(name, 0.1)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("tracked/")])
def test_landmarks_of_clips(name):
    """Every frame begins where the last one ended, so rounding adds up."""
    expected = GOLDEN[name]
    frames = read_frames(clip_path(name.removeprefix("tracked/")), end=Fraction(len(expected), 25))
    mesh = FaceMesh(video=True)
    for frame, wanted in zip(frames, expected, strict=True):
        assert distances(mesh(frame), wanted).max() < 1


@pytest.mark.parametrize("detector", [NEAR, FAR])
@pytest.mark.parametrize("name", PICTURES)
def test_detections(name, detector):
    expected = GOLDEN[f"{'near' if detector is NEAR else 'far'}/{name}"]
    (found,) = detect_with(detector, [picture(name)])
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        width = theirs[2] - theirs[0]
        assert np.abs(ours.box - theirs[:4]).max() < 2e-3 * width
        assert np.abs(ours.keypoints.ravel() - theirs[4:16]).max() < 2e-3 * width
        assert ours.score == pytest.approx(theirs[16], abs=3e-3)


@pytest.mark.parametrize("name", PICTURES)
def test_masks(name):
    mask = cv2.resize(segment_person(picture(name)), (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(mask - GOLDEN[f"mask/{name}"]).max() < 0.02


def test_the_file_is_small():
    assert FILE.stat().st_size < 200_000
