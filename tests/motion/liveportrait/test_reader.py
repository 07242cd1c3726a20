"""Motion from squares of a video: it is that of the first square, wherever the later ones lie."""

from fractions import Fraction

import numpy as np
import pytest
from fakes import facemesh_space, plain_portrait

from kptalk.face.alignment import square_of
from kptalk.motion.liveportrait.reader import CROP_SCALE, LivePortraitReader
from kptalk.types import Face, Motion

FPS = Fraction(25)


class BlobSpace:
    """Reads a bright blob: its place as translation, its width as scale, in the crop's units; counts its calls."""

    def __init__(self):
        self.seen = 0

    def read(self, crops, fps):
        self.seen += len(crops)
        bright = crops[..., 0].astype(float)
        weight = bright / bright.sum((1, 2), keepdims=True)
        grid = (np.arange(256) + 0.5) / 128 - 1
        x, y = (weight.sum(1) * grid).sum(1), (weight.sum(2) * grid).sum(1)
        width = np.sqrt((weight.sum(1) * (grid - x[:, None]) ** 2).sum(1))
        n = len(crops)
        place = np.stack([x, y, np.full(n, 0.3)], 1)
        turn, face = np.zeros((n, 3), np.float32), np.zeros((n, 21, 3), np.float32)
        return None, Motion(width[:, None], turn, place, face, fps, "liveportrait")


@pytest.fixture(scope="module")
def face():
    """Landmarks about the origin, 80 pixels wide."""
    points = plain_portrait(facemesh_space(), 128).face.landmarks
    points = points - points.mean(0)
    return points * (80 / np.ptp(points[:, 0]))


def frame(face, x, y, size):
    """A picture in which a blob and a face lie at a place."""
    rows, columns = np.mgrid[:480, :640] + 0.5
    bright = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (10 * size) ** 2))
    return np.repeat(bright[..., None].astype(np.uint8), 3, 2), Face((face * size + (x, y, 0)).astype(np.float32))


def read(face, track, cuts=(5,)):
    """Motion of a face that follows (x, y, size), and the first square."""
    images, faces = zip(*(frame(face, *at) for at in track), strict=True)
    reader = LivePortraitReader(BlobSpace())
    state, parts = reader.start(FPS), []
    for first, last in zip([0, *cuts], [*cuts, len(track)], strict=True):
        motion, state = reader.step(images[first:last], faces[first:last], state)
        parts.append(motion)
    assert reader.finish(state) is None
    return Motion.concatenate(parts), square_of(faces[0], False, CROP_SCALE), state


@pytest.mark.parametrize("reach", [10, 300])
def test_a_face_that_moves_far_is_seen_where_it_is(face, reach):
    xs = np.linspace(170, 170 + reach, 12)
    motion, first, state = read(face, [(x, 240, 1) for x in xs])
    moved = motion.translation[:, 0] - motion.translation[0, 0]
    assert np.allclose(moved, (xs - xs[0]) / (first.side / 2), atol=0.01)
    assert np.allclose(motion.translation[:, 1], motion.translation[0, 1], atol=0.01)
    assert np.allclose(motion.scale, motion.scale[0], rtol=0.02)
    assert (state.now == state.first) == (reach == 10)


def test_a_face_that_comes_nearer_grows(face):
    sizes = np.linspace(0.7, 1.7, 10)
    motion, _, state = read(face, [(320, 240, size) for size in sizes])
    assert np.allclose(motion.scale[:, 0] / motion.scale[0, 0], sizes / sizes[0], rtol=0.03)
    assert state.now.side > 1.5 * state.first.side


def test_a_small_movement_does_not_move_the_square(face):
    track = [(300 + 2 * np.sin(k), 240 + np.cos(k), 1 + 0.02 * np.sin(k)) for k in range(12)]
    motion, first, state = read(face, track)
    assert state.now == state.first == first
    assert 0.01 < np.ptp(motion.translation[:, 0]) < 0.05


def test_chunks_do_not_matter(face):
    track = [(170 + 25 * k, 240, 1) for k in range(12)]
    whole, parts = read(face, track, cuts=())[0], read(face, track, cuts=(1, 4, 9))[0]
    assert np.array_equal(whole.translation, parts.translation)
