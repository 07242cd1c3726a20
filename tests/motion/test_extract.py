"""The pose of a person in a video."""

from fractions import Fraction

import av
import numpy as np
import pytest

from kptalk.errors import FaceNotFound, InputError
from kptalk.motion.extract import pose_of_video


def write(path, frames):
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10", "preset": "ultrafast"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def face(shared_data):
    from kptalk.media.clip import read_frames

    return next(iter(read_frames(shared_data / "clips" / "val" / "aoc_3.mp4", Fraction(25))))


def test_a_face_that_moves_across_the_picture(space, face, tmp_path):
    frames = [np.pad(face, ((10, 10), (2 * i, 60 - 2 * i), (0, 0)), "edge") for i in range(15)]
    motion = pose_of_video(space, write(tmp_path / "moving.mp4", frames))
    assert len(motion) == 15
    assert (motion.fps, motion.space) == (25, "facemesh")
    assert not motion.expression.any()
    assert motion.scale[0, 0] == 1
    assert not motion.translation[0].any()
    assert motion.translation[-1, 0] > 0.15
    assert np.abs(motion.translation[:, 1]).max() < 0.15
    assert np.abs(motion.rotation - motion.rotation[0]).max() < 8


def test_frames_without_a_face_hold_the_pose(space, face, tmp_path):
    frames = [face] * 5 + [np.zeros_like(face)] * 4 + [face] * 3
    motion = pose_of_video(space, write(tmp_path / "gap.mp4", frames))
    assert len(motion) == 12
    assert np.array_equal(motion.rotation[5:9], np.repeat(motion.rotation[4:5], 4, 0))


def test_no_more_is_looked_at_than_wanted(space, face, tmp_path):
    told = []
    path = write(tmp_path / "long.mp4", [np.zeros_like(face)] * 3 + [face] * 12)
    motion = pose_of_video(space, path, Fraction(1, 5), lambda *row: told.append(row))
    assert len(motion) == 5
    assert told == [(0, 5)] * 3 + [(n, 5) for n in range(1, 6)]


def test_video_without_a_face(space, tmp_path):
    with pytest.raises(FaceNotFound, match=r"black\.mp4"):
        pose_of_video(space, write(tmp_path / "black.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3))


def test_no_video(space, tmp_path):
    with pytest.raises(InputError):
        pose_of_video(space, tmp_path / "absent.mp4")
