"""The landmark network behind its small interface: quiet, in pixels, for pictures and videos."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from media_shared import clip_landmarks
from skimage import data

from kptalk.face.landmarks import FaceMesh, detect_boxes, native_stderr_silenced


@pytest.fixture(scope="module")
def face():
    return np.ascontiguousarray(data.astronaut()[:300, 80:380])


def test_landmarks_scale_with_the_picture(face):
    with FaceMesh() as mesh:
        small = mesh(face)[0].landmarks
        large = mesh(cv2.resize(face, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))[0].landmarks
    assert small.shape == (478, 3)
    assert small.dtype == np.float32
    assert np.abs(large / 2 - small).mean() < 1.5


def test_nothing_where_there_is_no_face():
    with FaceMesh() as mesh:
        assert mesh(np.zeros((200, 200, 3), np.uint8)) == []


def test_strided_pictures_are_taken(face):
    with FaceMesh() as mesh:
        assert mesh(face[:, ::-1])


def test_larger_faces_come_first(face):
    two = np.full((450, 750, 3), 128, np.uint8)
    two[:300, :300] = face
    two[:, 300:] = cv2.resize(face, (450, 450))
    with FaceMesh(max_faces=2) as mesh:
        found = mesh(two)
    assert len(found) == 2
    assert found[0].box[0] > 300 > found[1].box[0]


def test_boxes_of_the_detectors_hold_the_face(face):
    boxes = detect_boxes(face)
    assert boxes.shape[1] == 4
    x0, y0, x1, y1 = boxes[0]
    with FaceMesh() as mesh:
        nose = mesh(face)[0].landmarks[1]
    assert x0 < nose[0] < x1
    assert y0 < nose[1] < y1
    assert detect_boxes(np.zeros((100, 100, 3), np.uint8)).shape == (0, 4)


def test_video_follows_the_face(shared_data):
    landmarks = clip_landmarks(shared_data / "clips" / "val" / "aoc_3.mp4", 1.6)
    assert landmarks.shape == (40, 478, 3)
    steps = np.linalg.norm(np.diff(landmarks[:, 1, :2], axis=0), axis=1)
    assert steps.max() < 12


def test_nothing_is_written_to_the_terminal():
    code = (
        "from skimage import data; from kptalk.face.find import find_portrait; import kptalk;"
        "find_portrait(data.astronaut())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_two_threads_that_silence_leave_the_error_stream_open(capfd):
    def silence(_):
        with native_stderr_silenced():
            os.write(2, b"noise")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(silence, range(200)))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
