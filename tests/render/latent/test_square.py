"""The square that the denoiser draws: where it lies, what is cut out of it and laid back into the frame."""

import numpy as np
import pytest
from fakes import facemesh_space, plain_portrait

from kptalk.face.geometry import rotation_matrix
from kptalk.face.topology import JAW, LIPS_OUTER, OVAL
from kptalk.render.latent.composite import detail_share, in_domain, paste_back
from kptalk.render.latent.landmark_maps import N_MAPS, landmark_maps
from kptalk.render.latent.square import apply_map, cut_square, square_maps, square_middle

SIZE = 128


def square_of(source, motion, size=SIZE):
    """The affine map (2, 3) of one frame's square."""
    middle = square_middle(source.neutral)
    scale, shift = source.unit * motion.scale[:, 0], source.origin + source.unit * motion.translation
    return square_maps(middle, scale, rotation_matrix(motion.rotation), shift, size)[0]


def frame_of(portrait):
    """The square's map, and the landmarks in the square."""
    source = facemesh_space().extract(portrait)
    affine = square_of(source, source.motion)
    return affine, apply_map(affine, portrait.face.landmarks)


@pytest.fixture(scope="module")
def large():
    return plain_portrait(facemesh_space(), 256)


@pytest.mark.parametrize("side", [128, 256, 700])
def test_the_square_shows_the_face_at_any_size(space, side):
    _, points = frame_of(plain_portrait(space, side))
    mouth = points[LIPS_OUTER]
    assert 0.2 * SIZE < np.ptp(mouth[:, 0]) < 0.6 * SIZE
    assert (points[[33, 263]] > 0).all()  # the outer corners of the eyes
    assert (points[JAW][:, 1] < SIZE).all()


@pytest.mark.parametrize("roll", [-25, 10, 60])
def test_the_face_stands_upright_however_the_head_is_tilted(source, roll):
    tilted = source.motion.with_fields(rotation=source.motion.rotation + np.float32([[0, 0, roll]]))
    upright, turned = square_of(source, source.motion), square_of(source, tilted)
    face = source.neutral @ rotation_matrix(source.motion.rotation[0])
    moved = source.neutral @ rotation_matrix(tilted.rotation[0])
    at = source.origin + source.unit * source.motion.translation[0]
    before = apply_map(upright, source.unit * source.motion.scale[0] * face + at)
    after = apply_map(turned, source.unit * source.motion.scale[0] * moved + at)
    assert np.abs(after - before).max() < 0.05 * SIZE


def test_lips_do_not_move_the_square(source):
    expression = source.motion.expression + np.float32(0.1)
    assert np.array_equal(
        square_of(source, source.motion), square_of(source, source.motion.with_fields(expression=expression))
    )


def test_a_square_cut_at_its_own_size_is_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    affine = np.float32([[1, 0, -10], [0, 1, -20]])
    assert np.array_equal(cut_square(picture, affine, 40), picture[20:60, 10:50])


@pytest.mark.parametrize("zoom", [2, 3, 8])
def test_a_large_square_is_averaged_and_not_sampled(zoom):
    coarse = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    picture = np.repeat(np.repeat(coarse, zoom, 0), zoom, 1)
    affine = np.float32([[1 / zoom, 0, (1 / zoom - 1) / 2], [0, 1 / zoom, (1 / zoom - 1) / 2]])
    assert np.abs(cut_square(picture, affine, 16).astype(int) - coarse)[1:-1, 1:-1].max() <= 1


@pytest.mark.parametrize("shift", [0, 60, -200, 1e4, -1e6])
def test_squares_may_lie_beyond_the_picture(large, shift):
    affine, points = frame_of(large)
    affine = affine + np.float32([[0, 0, shift], [0, 0, -shift]])
    square = cut_square(large.image, affine, SIZE)
    assert square.shape == (SIZE, SIZE, 3)
    maps, frame = landmark_maps(points + np.float32([shift, -shift]), SIZE), large.image.copy()
    paste_back(frame, square.astype(np.float32) + 50, square, affine, maps, points[OVAL], 0.1, 1.0)
    assert frame.shape == large.image.shape


def test_where_nothing_was_drawn_the_frame_stays(large):
    affine, points = frame_of(large)
    square, frame = cut_square(large.image, affine, SIZE), large.image.copy()
    nothing = np.zeros((SIZE, SIZE, N_MAPS), np.uint8)
    paste_back(frame, square.astype(np.float32), square, affine, nothing, points[OVAL], 0.1, 1.0)
    assert np.array_equal(frame, large.image)


@pytest.mark.parametrize("size", [32, 128, 512])
def test_an_unchanged_square_changes_only_what_is_between_the_lips(large, size):
    source = facemesh_space().extract(large)
    affine = square_of(source, source.motion, size)
    points = apply_map(affine, large.face.landmarks)
    square, frame, maps = cut_square(large.image, affine, size), large.image.copy(), landmark_maps(points, size)
    paste_back(frame, square.astype(np.float32), square, affine, maps, points[OVAL], 0.1, 1.0)
    changed = np.argwhere((frame != large.image).any(-1))[:, ::-1]
    lips = large.face.landmarks[LIPS_OUTER, :2]
    assert ((changed >= lips.min(0) - 12) & (changed <= lips.max(0) + 12)).all()


@pytest.mark.parametrize("size", [32, 128, 512])
def test_pixels_outside_the_square_are_the_frames(large, size):
    source = facemesh_space().extract(large)
    affine = square_of(source, source.motion, size)
    points = apply_map(affine, large.face.landmarks)
    square, frame = cut_square(large.image, affine, size), large.image.copy()
    paste_back(
        frame, 255 - square.astype(np.float32), square, affine, landmark_maps(points, size), points[OVAL], 0.1, 1.0
    )
    rows, columns = np.nonzero((frame != large.image).any(-1))
    places = apply_map(affine, np.stack([columns, rows], 1).astype(np.float32))
    assert len(places) > 100
    assert (places >= -1).all()
    assert (places <= size).all()
    middle = np.rint(large.face.landmarks[[0, 17], :2].mean(0)).astype(int)
    assert np.abs(frame.astype(int) - large.image)[middle[1], middle[0]].max() > 5


def test_the_edge_of_the_square_leaves_no_step(large):
    affine, points = frame_of(large)
    grey = np.full_like(large.image, 100)
    frame, square = grey.copy(), cut_square(grey, affine, SIZE)
    paste_back(frame, square + np.float32(80), square, affine, landmark_maps(points, SIZE), points[OVAL], 0.1, 1.0)
    change = frame.astype(int) - grey
    assert change.max() == 80
    assert np.abs(np.diff(change, axis=0)).max() < 40
    assert np.abs(np.diff(change, axis=1)).max() < 40


def test_maps_show_lips_lids_and_lines(large):
    _, points = frame_of(large)
    maps = landmark_maps(points, SIZE)
    assert (maps.shape, maps.dtype) == ((SIZE, SIZE, N_MAPS), np.uint8)
    inner, outer, lines, eyes, irises = (maps[..., k] > 127 for k in range(N_MAPS))
    assert inner.sum() < outer.sum()
    assert not (inner & ~outer).any()
    assert not (irises & ~eyes).any()
    assert lines.any()
    x, y = np.rint(points[[0, 17]].mean(0)).astype(int)
    assert outer[y, x]


def test_maps_of_an_opening_mouth_grow(large):
    _, points = frame_of(large)
    lower = points.copy()
    lower[[14, 87, 317, 178, 402, 88, 318], 1] += 12
    shut, opened = landmark_maps(points, SIZE)[..., 0], landmark_maps(lower, SIZE)[..., 0]
    assert opened.sum() > shut.sum() + 255 * 100


@pytest.mark.parametrize("points", [np.zeros((478, 2)), np.full((478, 2), 1e5), np.full((478, 2), -1e5)], ids=str)
def test_maps_of_points_far_away_are_maps(points):
    assert landmark_maps(points.astype(np.float32), SIZE).shape == (SIZE, SIZE, N_MAPS)


@pytest.mark.parametrize(
    ("skin", "share"), [((164, 164, 164), 0), ((210, 150, 120), 1), ((230, 120, 40), 0), ((144, 146, 142), 0)]
)
def test_skin_that_people_do_not_have_is_not_drawn(skin, share):
    assert in_domain(np.array(skin, np.float32)) == share


def test_between_wide_lips_some_detail_of_the_drawn_mouth_stays():
    """A flat drawing: between nearly closed lips little is left of the contrast of what was there, in wide most."""
    frame = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    maps = np.zeros((SIZE, SIZE, N_MAPS), np.uint8)
    maps[50:80, 40:90, :2] = 255
    outline = np.float32([[2, 2], [126, 2], [126, 126], [2, 126]])
    left = []
    for gap in (0.05, 0.6):  # in mouth widths
        detail = detail_share(gap, own_teeth=False)
        laid = frame.copy()
        paste_back(
            laid,
            np.full(frame.shape, 90, np.float32),
            frame,
            np.eye(2, 3, dtype=np.float32),
            maps,
            outline,
            detail,
            1.0,
        )
        left.append(laid[58:72, 48:82].std())
    closed, wide = np.array(left) / frame.std()
    assert 0.15 < closed < 0.35
    assert 0.7 < wide < 0.95


def test_the_photos_own_teeth_stay():
    assert detail_share(0.05, own_teeth=True) == 1


def test_lips_that_are_the_photos_own_stay(large):
    """A closing lid is drawn all the same."""
    affine, points = frame_of(large)
    frame, square = large.image.copy(), cut_square(large.image, affine, SIZE)
    paste_back(
        frame, 255 - square.astype(np.float32), square, affine, landmark_maps(points, SIZE), points[OVAL], 0.1, 0.0
    )
    changed = np.abs(frame.astype(int) - large.image).max(-1) > 2
    mouth, eye = (large.face.landmarks[numbers, :2].mean(0).astype(int) for numbers in (LIPS_OUTER, [159, 145]))
    assert not changed[mouth[1] - 8 : mouth[1] + 8, mouth[0] - 15 : mouth[0] + 15].any()
    assert changed[eye[1] - 2 : eye[1] + 3, eye[0] - 2 : eye[0] + 3].any()
