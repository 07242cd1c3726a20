"""MediaPipe behind its small interface: in pixels, for pictures and videos, and what it writes to the terminal."""

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_shared import CLIPS, clip_landmarks
from skimage import data

import kptalk
from kptalk.face.find import find_portrait
from kptalk.face.landmarks import FaceMesh, detect_boxes, segment_person
from kptalk.face.notices import expected_notices, silenced_notices


@pytest.fixture(scope="module")
def face():
    return np.ascontiguousarray(data.astronaut()[:300, 80:380])


def test_landmarks_scale_with_the_picture(face):
    with FaceMesh() as mesh:
        small = mesh(face).landmarks
        large = mesh(cv2.resize(face, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)).landmarks
    assert small.shape == (478, 3)
    assert small.dtype == np.float32
    assert np.abs(large / 2 - small).mean() < 1.5


def test_nothing_where_there_is_no_face():
    with FaceMesh() as mesh:
        assert mesh(np.zeros((200, 200, 3), np.uint8)) is None


def test_strided_pictures_are_taken(face):
    with FaceMesh() as mesh:
        assert mesh(face[:, ::-1])


def test_boxes_of_the_detectors_hold_the_face(face):
    boxes = detect_boxes(face)
    assert boxes.shape[1] == 4
    x0, y0, x1, y1 = boxes[0]
    with FaceMesh() as mesh:
        nose = mesh(face).landmarks[1]
    assert x0 < nose[0] < x1
    assert y0 < nose[1] < y1
    assert detect_boxes(np.zeros((100, 100, 3), np.uint8)).shape == (0, 4)


def test_video_follows_the_face():
    landmarks = clip_landmarks(CLIPS / "grid_mlbax_1.mp4", 1.6)
    assert landmarks.shape == (40, 478, 3)
    steps = np.linalg.norm(np.diff(landmarks[:, 1, :2], axis=0), axis=1)
    assert steps.max() < 12


def test_a_person_is_told_from_the_background(face):
    person = segment_person(face)
    assert person.shape == (300, 300)
    assert person.dtype == np.float32
    assert person[80:160, 110:160].mean() > 0.95
    assert person[:40, -40:].mean() < 0.05


def test_the_library_leaves_the_error_stream_of_the_process_alone(face, capfd):
    written, started = 0, threading.Event()

    def write():
        nonlocal written
        while not started.wait(0.002):
            os.write(2, b"tick\n")
            written += 1

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write)
        try:
            find_portrait(face)
        finally:
            started.set()
    assert written > 10
    assert capfd.readouterr().err.count("tick\n") == written


@pytest.mark.slow
def test_a_program_can_silence_the_notices():
    code = (
        "from skimage import data; from kptalk.face.find import find_portrait;"
        "from kptalk.face.notices import silenced_notices\n"
        "with silenced_notices(): find_portrait(data.astronaut())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_two_threads_that_silence_leave_the_error_stream_open(capfd):
    def silence(_):
        with expected_notices():
            os.write(2, b"noise")

    with silenced_notices(), ThreadPoolExecutor(8) as pool:
        list(pool.map(silence, range(200)))
    with expected_notices():
        os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_mediapipe_is_imported_in_one_file_only():
    source = Path(kptalk.__file__).parent
    importing = re.compile(r"^\s*(?:from|import)\s+mediapipe\b", re.MULTILINE)
    users = {str(path.relative_to(source)) for path in source.rglob("*.py") if importing.search(path.read_text())}
    assert users == {"face/landmarks.py"}
