"""The upright square: it turns with the face, keeps the aspect ratio, and finds its way back into the photo."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fakes import facemesh_space, plain_portrait
from hypothesis import given, settings
from hypothesis import strategies as st
from media_shared import portrait_of

from kptalk.face.alignment import FACE, NETWORK_SIZE, Square, aligned_crop, aligned_full, cut, mask, square_of
from kptalk.face.framing import EDGES, LONGEST_FULL
from kptalk.types import Face, Portrait

PORTRAITS = ("astronaut", "grid_s2_1@0", "grid_mlbax_1@46", "liveportrait_s9", "sadtalker_art_10", "lia_monroe")
SQUARES = st.builds(Square, st.floats(-50, 250), st.floats(-50, 250), st.floats(20, 400), st.floats(-3, 3))


@pytest.fixture(scope="module")
def portrait():
    """A drawn face in the middle of a noisy picture, with room around it."""
    return plain_portrait(facemesh_space(), 240)


def turned(portrait, degrees, factor=1.0):
    """The picture and its face turned clockwise about the middle, and enlarged."""
    side = len(portrait.image)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), -degrees, factor)
    image = cv2.warpAffine(portrait.image, matrix, (side, side), flags=cv2.INTER_CUBIC)
    points = portrait.face.landmarks.copy()
    points[:, :2] = (points[:, :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    return Portrait(image, Face(points.astype(np.float32)))


@settings(deadline=None, max_examples=40)
@given(degrees=st.floats(-60, 60), factor=st.floats(0.3, 1.5))
def test_the_square_turns_and_grows_with_the_face(portrait, degrees, factor):
    still, moved = square_of(portrait.face), square_of(turned(portrait, degrees, factor).face)
    assert np.degrees(moved.angle - still.angle) == pytest.approx(degrees, abs=0.05)
    assert moved.side == pytest.approx(factor * still.side, rel=1e-3)
    nose = [one.face.landmarks[1, :2] for one in (portrait, turned(portrait, degrees, factor))]
    assert np.allclose(still.inside(nose[0]), moved.inside(nose[1]), atol=2e-3)


def test_the_square_is_framed_as_liveportraits(portrait):
    placed = square_of(portrait.face).inside(portrait.face.landmarks[FACE, :2])
    low, high = placed.min(0), placed.max(0)
    assert (high - low).max() == pytest.approx(1 / 2.3)
    assert np.allclose((low + high) / 2, (0, 0.125), atol=1e-3)
    level = square_of(turned(portrait, 30).face, upright=False)
    assert level.angle == 0


@given(SQUARES, st.integers(1, 600))
def test_pixels_and_places_in_the_square_are_inverse(square, size):
    corner = np.array([-0.5, -0.5, 1]), np.array([size - 0.5, size - 0.5, 1])  # outer corners of the outer pixels
    points = np.stack([square.to_picture(size) @ c for c in corner]) + 0.5
    assert np.allclose(square.inside(points), [[-0.5, -0.5], [0.5, 0.5]], atol=2e-3)


def test_a_square_that_is_the_picture_gives_the_picture(portrait):
    whole = Square(120, 120, 240, 0)
    assert np.array_equal(cut(portrait.image, whole, 240), portrait.image)
    smaller = cv2.resize(portrait.image, (120, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(cut(portrait.image, whole, 120).astype(int) - smaller).max() <= 1


@pytest.mark.parametrize("shape", [(200, 500), (500, 200)])
@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_a_circle_stays_a_circle(shape, angle):
    picture = np.zeros((*shape, 3), np.uint8)
    cv2.circle(picture, (shape[1] // 2, shape[0] // 2), 60, (255, 255, 255), -1)
    seen = cut(picture, Square(shape[1] / 2, shape[0] / 2, 300, angle), 256)[..., 0] > 127
    assert seen.any(1).sum() == pytest.approx(seen.any(0).sum(), abs=2)
    assert seen.sum() == pytest.approx(np.pi * (60 * 256 / 300) ** 2, rel=0.02)


def test_beyond_the_photo_its_edge_repeats(portrait):
    seen = cut(portrait.image, Square(0, 120, 240, 0), 240)
    assert (seen[:, :120] == seen[:, :1]).all()
    assert np.array_equal(seen[:, 120:], portrait.image[:, :120])


@settings(deadline=None, max_examples=40)
@given(SQUARES)
def test_the_mask_fades_to_nothing_inside_the_square(square):
    left, top, alpha = mask(square, 240, 200)
    height, width = alpha.shape
    assert 0 <= left < left + width <= 240
    assert 0 <= top < top + height <= 200
    assert 0 <= alpha.min() <= alpha.max() <= 1
    points = np.stack(np.meshgrid(np.arange(left, left + width), np.arange(top, top + height)), -1) + 0.5
    placed = np.abs(square.inside(points)).max(-1)
    assert (alpha[placed >= 0.5] == 0).all()
    assert (alpha[placed < 0.25] == 1).all()
    steepest = 1.5 / 0.12 / square.side  # of a smoothstep over the feather, a pixel
    assert np.abs(np.diff(alpha, axis=0)).max(initial=0) < 1.5 * steepest
    everything = np.zeros((200, 240))
    everything[top : top + height, left : left + width] = alpha
    points = np.stack(np.meshgrid(np.arange(240), np.arange(200)), -1) + 0.5
    assert (everything[np.abs(square.inside(points)).max(-1) < 0.25] == 1).all()  # nothing of it is left out


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


def covered(framing):
    left, top, alpha = mask(framing.square, *framing.photo.shape[1::-1])
    whole = np.zeros(framing.photo.shape[:2])
    whole[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha
    return whole > 0


@pytest.mark.parametrize("name", PORTRAITS)
def test_what_was_cut_goes_back_where_it_was(name):
    """A renderer that draws nothing new gives back the photo."""
    given_portrait = portrait_of(name)
    framing = aligned_full(given_portrait)
    drawn = cut(given_portrait.image, square_of(given_portrait.face), 512)
    frame = framing.frames(drawn[None])[0]
    inside = covered(framing)
    assert psnr(frame[inside], framing.photo[inside]) > 35
    assert np.array_equal(frame[~inside], framing.photo[~inside])


def test_only_the_square_is_drawn_and_every_frame_by_itself(portrait):
    framing = aligned_full(turned(portrait, 20, 0.6))
    red, blue = (np.full((512, 512, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    frames = framing.frames(np.stack([red, blue, red]))
    inside = covered(framing)
    assert 0.05 < inside.mean() < 0.9
    assert (frames[:, ~inside] == framing.photo[~inside]).all()
    x, y = int(framing.square.x), int(framing.square.y)
    assert frames[:, y, x].tolist() == [[255, 0, 0], [0, 0, 255], [255, 0, 0]]
    assert np.array_equal(frames[0], frames[2])


@pytest.mark.parametrize("size", [None, 128, 700])
def test_the_crop_is_the_picture(portrait, size):
    framing = aligned_crop(portrait, size)
    assert framing.photo.shape == (size or 512, size or 512, 3)
    assert framing.free == set(EDGES)
    drawn = np.random.default_rng(0).integers(0, 256, (2, 512, 512, 3), np.uint8)
    frames = framing.frames(drawn)
    assert frames.shape == (2, *framing.photo.shape)
    assert size or np.array_equal(frames, drawn)


@pytest.mark.parametrize("make", [aligned_crop, aligned_full])
def test_the_networks_see_256_pixels_and_know_where_the_face_is(portrait, make):
    tilted = turned(portrait, 25)
    seen = make(tilted).portrait
    assert seen.image.shape == (NETWORK_SIZE, NETWORK_SIZE, 3)
    level = square_of(seen.face)
    assert level.angle == pytest.approx(0, abs=1e-3)
    assert (level.x, level.y, level.side) == pytest.approx((128, 128, 256), abs=0.1)
    ratio = np.ptp(seen.face.landmarks[:, 2]) / np.ptp(tilted.face.landmarks[:, 2])
    assert ratio == pytest.approx(256 / square_of(tilted.face).side, rel=1e-4)


def test_sizes_of_the_whole_photo(portrait):
    assert aligned_full(portrait).photo.shape == (240, 240, 3)
    framing = aligned_full(portrait, 480)
    assert framing.photo.shape == (480, 480, 3)
    assert framing.square.side == pytest.approx(2 * square_of(portrait.face).side, rel=1e-3)
    large = replace(portrait, image=np.zeros((2000, 2000, 3), np.uint8))
    assert max(aligned_full(large).photo.shape) == LONGEST_FULL
