"""The motion of a person in a video, as a stream."""

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import in_both_spaces, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st
from media_shared import CLIPS
from recordings import write_clip

from kptalk.errors import FaceNotFound, InputError
from kptalk.face import follow
from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.reader import FaceMeshReader
from kptalk.motion.facemesh.space import to_head_frame
from kptalk.motion.video import VideoMotion
from kptalk.types import Face, Motion


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
def face():
    from kptalk.media.clip import read_frames

    return next(iter(read_frames(CLIPS / "grid_mlbax_1.mp4", Fraction(25))))


def pose_of(space, path, *limits):
    return VideoMotion(FaceMeshReader(space), path, Fraction(25)).read(*limits)


def test_a_face_that_moves_across_the_picture(space, face, tmp_path):
    frames = [np.pad(face, ((10, 10), (2 * i, 60 - 2 * i), (0, 0)), "edge") for i in range(15)]
    motion = pose_of(space, write(tmp_path / "moving.mp4", frames))
    assert len(motion) == 15
    assert (motion.fps, motion.space) == (25, "facemesh")
    assert abs(motion.scale[0, 0] - 1) < 0.02
    assert np.abs(motion.translation[0]).max() < 0.03
    assert motion.translation[-1, 0] > 0.15
    assert np.abs(motion.translation[:, 1]).max() < 0.15
    assert np.abs(motion.rotation - motion.rotation[0]).max() < 8


def test_frames_without_a_face_hold_the_pose(space, face, tmp_path):
    frames = [face] * 5 + [np.zeros_like(face)] * 4 + [face] * 3
    with pytest.warns(UserWarning, match="face found in only 8 of 12 frames"):
        motion = pose_of(space, write(tmp_path / "gap.mp4", frames))
    assert len(motion) == 12
    assert np.abs(motion.rotation[5:9] - motion.rotation[4]).max() < 0.5


def test_no_more_is_read_than_wanted(space, face, tmp_path):
    reported = []
    path = write(tmp_path / "long.mp4", [face] * 15)
    motion = pose_of(space, path, Fraction(1, 5), lambda *row: reported.append(row))
    assert len(motion) == 5
    assert {total for _, total in reported} == {5}


def test_video_without_a_face(space, tmp_path):
    with pytest.raises(FaceNotFound, match=r"black\.mp4"):
        pose_of(space, write(tmp_path / "black.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3))


def test_no_video(space, tmp_path):
    with pytest.raises(InputError):
        pose_of(space, tmp_path / "absent.mp4")


# What follows replaces the tracker by landmarks that are known: one person's mesh for every frame of a tiny video.


def persons_mesh(space, seed, expression, pose):
    """Landmarks (T, 478, 3) of a person, whose face is of another shape, that makes expressions with turned heads."""
    rng = np.random.default_rng(seed)
    shape = 0.03 * space.template * rng.standard_normal(3) * (1 + seed)
    neutral = space.template + shape - shape.mean(0)
    meshes = neutral + space.gain(neutral) * space.decode(expression)
    turned = meshes @ rotation_matrix(pose.rotation) * pose.scale[:, None] + pose.translation[:, None]
    return (100 * turned + np.array([160, 200, 0])).astype(np.float32)


def talking(space, length):
    """Expressions (T, 21, 3) that open and close the lips, smile, look and blink; lips often closed, eyes open."""
    t = np.arange(length)
    lips = 0.3 * np.maximum(np.sin(t / 2.3), 0)
    look = 0.2 * np.sin(t / 11)
    blink = (t % 40 > 36) * 1.0
    parts = ((lips, space.open_lips), (look, space.gaze[0]), (blink, space.blink))
    return sum(size[:, None, None] * direction for size, direction in parts).astype(np.float32)


class KnownFaces:
    """Stands for FaceMesh: the next landmarks for every frame, None where no face is to be seen."""

    def __init__(self, landmarks):
        self.left, self.seen, self.image = iter(landmarks), 0, None

    def __exit__(self, *_):
        pass

    def __call__(self, image):
        if image is not self.image:
            self.seen, self.image, self.found = self.seen + 1, image, next(self.left)
        return None if self.found is None else Face(self.found)


@pytest.fixture
def video(tmp_path, monkeypatch):
    """Makes a tiny video that shows such faces; returns its path and the tracker."""

    def make(landmarks, fps=25):
        faces = KnownFaces(landmarks)
        monkeypatch.setattr(follow, "FaceMesh", lambda *, video: faces)
        monkeypatch.setattr(follow, "detect_boxes", lambda image: np.zeros((0, 4), np.float32))
        path = tmp_path / "driver.mp4"
        write_clip(path, np.zeros((len(landmarks), 16, 16, 3), np.uint8), fps)
        return path, faces

    return make


def motion_of(space, path, fps=None):
    return Motion.concatenate(list(VideoMotion(FaceMeshReader(space), path, fps)))


@in_both_spaces
@pytest.mark.parametrize("person", [0, 1, 2])
def test_the_expression_is_what_the_face_does_and_not_its_shape(space, video, person):
    expression, pose = talking(space, 120), random_motion(120, 5, space=space.id)
    motion = motion_of(space, video(persons_mesh(space, person, expression, pose))[0])
    made = to_head_frame(motion)
    assert np.abs(space.regions.lip_gap(made) - space.regions.lip_gap(expression)).max() < 0.02
    assert np.abs(space.regions.lid_gap(made) - space.regions.lid_gap(expression)).max() < 0.02
    away = space.decode(made - expression)
    assert np.sqrt((away**2).mean()) < 0.15 * np.sqrt((space.decode(expression) ** 2).mean())


def test_the_pose_is_that_of_the_head_from_its_first_place(space, video):
    expression, pose = 0 * talking(space, 60), random_motion(60, 9)
    motion = motion_of(space, video(persons_mesh(space, 0, expression, pose))[0])
    assert np.abs(motion.rotation - pose.rotation).mean() < 0.3
    assert np.abs(motion.scale - pose.scale / pose.scale[0]).mean() < 0.005
    moved = (pose.translation - pose.translation[0]) / pose.scale[0]
    assert np.abs(motion.translation - moved).mean() < 0.005


@in_both_spaces
def test_frames_without_a_face_are_counted_and_hold_the_motion(space, video):
    landmarks = list(persons_mesh(space, 0, talking(space, 50), random_motion(50, 1, space=space.id)))
    for missing in (*range(20), 30, 31, 32):
        landmarks[missing] = None
    found = VideoMotion(FaceMeshReader(space), video(landmarks)[0])
    with pytest.warns(UserWarning, match=r"face found in only 27 of 50 frames of .*driver\.mp4"):
        motion = Motion.concatenate(list(found))
    assert (len(motion), found.without_face) == (50, 23)
    face = to_head_frame(motion)
    assert np.allclose(face[:21], face[20], atol=1e-6)
    assert np.allclose(face[29:33], face[29], atol=1e-6)
    assert np.abs(face[33] - face[32]).max() > 1e-3


@pytest.mark.parametrize(("own", "wanted", "frames"), [(25, None, 40), (30, 25, 33), (25, 50, 80), (25, 25, 40)])
def test_frame_rates(space, video, own, wanted, frames):
    landmarks = persons_mesh(space, 0, talking(space, 40), random_motion(40, 1))
    path, _ = video(landmarks, own)
    motion = motion_of(space, path, wanted and Fraction(wanted))
    assert (len(motion), motion.fps) == (frames, wanted or own)
    assert VideoMotion(FaceMeshReader(space), path, wanted and Fraction(wanted)).frames_hint == frames
    if wanted == 50:
        again = motion_of(space, video(landmarks, own)[0])
        assert np.allclose(motion.rotation[::2], again.rotation, atol=1e-4)


def test_an_odd_frame_rate_is_made_one_that_videos_can_have(space, video):
    landmarks = persons_mesh(space, 0, talking(space, 10), random_motion(10, 1))
    motion = motion_of(space, video(landmarks, Fraction(13978, 467))[0])
    assert motion.fps.denominator <= 1001
    assert abs(motion.fps - Fraction(13978, 467)) < Fraction(1, 1000)


def test_motion_comes_before_the_video_has_ended(space, video):
    landmarks = persons_mesh(space, 0, talking(space, 400), random_motion(400, 1))
    path, faces = video(landmarks)
    pieces = iter(VideoMotion(FaceMeshReader(space), path))
    first = next(pieces)
    assert faces.seen <= 25 * 10 + 16
    assert len(first) > 200
    assert max(len(piece) for piece in pieces) <= 32


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(space, video):
    landmarks = persons_mesh(space, 0, talking(space, 50), random_motion(50, 1))

    def peak(frames):
        path, _ = video([landmarks[k % 50] for k in range(frames)])
        tracemalloc.start()
        assert sum(map(len, VideoMotion(FaceMeshReader(space), path))) == frames
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(260)
    assert peak(1500) < 1.1 * peak(500)


@in_both_spaces
@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 300), max_size=6))
def test_pieces_of_any_length_give_the_same_motion(space, cuts):
    reader = FaceMeshReader(space)
    faces = [Face(mesh) for mesh in persons_mesh(space, 1, talking(space, 300), random_motion(300, 1, space=space.id))]

    def read(cuts):
        state, parts = reader.start(Fraction(25)), []
        for first, last in zip([0, *cuts], [*cuts, 300], strict=True):
            if first < last:
                motion, state = reader.step([], faces[first:last], state)
                parts.append(motion)
        parts.append(reader.finish(state))
        return Motion.concatenate([part for part in parts if part is not None])

    at_once, made = read([]), read(sorted(cuts))
    # the neutral face is found in what has arrived by ten seconds, which depends on the pieces a little
    assert np.allclose(made.rotation, at_once.rotation, atol=1e-3)
    assert np.abs(to_head_frame(made) - to_head_frame(at_once)).max() < 0.01


def test_no_face_in_a_driving_video(space, video):
    path, _ = video([None] * 20)
    with pytest.raises(FaceNotFound, match=r"driver\.mp4"):
        motion_of(space, path)


def test_no_driving_video(space, tmp_path):
    with pytest.raises(InputError, match=r"absent\.mp4"):
        VideoMotion(FaceMeshReader(space), tmp_path / "absent.mp4")
