"""The framing: what is drawn, at which size, and back into the photo pixel for pixel."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.face.alignment import aligned_full
from kptalk.face.framing import CROP_SIZE, LONGEST_FULL, crop_framing, full_framing, inside_borders, square_in_photo
from kptalk.types import Face, Portrait


def portrait(height, width, x, y, side):
    """A noisy photo with landmarks all over a square."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (478, 3)) * (side, side, side / 4) + (x, y, 0)
    points[:2, :2] = (x, y), (x + side, y + side)
    return Portrait(rng.integers(0, 256, (height, width, 3), np.uint8), Face(points.astype(np.float32)))


@st.composite
def portraits(draw):
    height, width = draw(st.integers(80, 500)), draw(st.integers(80, 500))
    side = draw(st.integers(64, min(height, width)))
    # The face may lie a bit outside the photo: landmarks do where it is cut by the edge.
    x = draw(st.integers(-side // 4, width - 3 * side // 4))
    y = draw(st.integers(-side // 4, height - 3 * side // 4))
    return portrait(height, width, x, y, side)


@settings(deadline=None)
@given(portraits(), st.integers(0, 2**32 - 1))
def test_frames_lie_in_the_photo_pixel_for_pixel(given_portrait, seed):
    framing = full_framing(given_portrait)
    assert np.array_equal(framing.photo, given_portrait.image)
    moved = framing.portrait.face.landmarks + (framing.x, framing.y, 0)
    assert np.allclose(moved, given_portrait.face.landmarks, atol=1e-3)
    height, width = framing.portrait.image.shape[:2]
    drawn = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    frames = framing.frames(drawn)
    assert frames.shape == (2, *given_portrait.image.shape)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames[:, framing.y : framing.y + height, framing.x : framing.x + width], drawn)
    frames[:, framing.y : framing.y + height, framing.x : framing.x + width] = framing.portrait.image
    assert (frames == given_portrait.image).all()


@settings(deadline=None)
@given(portraits())
def test_square_stays_inside_and_holds_the_middle_of_the_face(given_portrait):
    height, width = given_portrait.image.shape[:2]
    x, y, side = square_in_photo(given_portrait.face, (0, 0, width, height))
    assert 0 <= x <= x + side <= width
    assert 0 <= y <= y + side <= height
    assert side >= min(height, width, 64)
    x0, y0, x1, y1 = given_portrait.face.box
    assert x <= np.clip((x0 + x1) / 2, 0, width) <= x + side
    assert y <= np.clip((y0 + y1) / 2, 0, height) <= y + side


@settings(deadline=None)
@given(portraits())
def test_free_edges_are_those_of_the_photo(given_portrait):
    framing = full_framing(given_portrait)
    height, width = framing.portrait.image.shape[:2]
    assert ("left" in framing.free) == (framing.x == 0)
    assert ("top" in framing.free) == (framing.y == 0)
    assert ("right" in framing.free) == (framing.x + width == framing.photo.shape[1])
    assert ("bottom" in framing.free) == (framing.y + height == framing.photo.shape[0])


@settings(deadline=None, max_examples=30)
@given(portraits(), st.sampled_from([None, 64, 129, 256]))
def test_crop_framing_is_a_square_of_the_size_asked_for(given_portrait, size):
    framing = crop_framing(given_portrait, size)
    side = size or CROP_SIZE
    assert framing.photo.shape == (side, side, 3)
    assert framing.portrait.image is framing.photo or np.array_equal(framing.portrait.image, framing.photo)
    assert (framing.x, framing.y) == (0, 0)
    assert framing.free == {"left", "right", "top", "bottom"}
    drawn = np.zeros((1, side, side, 3), np.uint8)
    assert framing.frames(drawn) is drawn


@pytest.mark.parametrize(("size", "expected"), [(None, (400, 300)), (200, (200, 150)), (1000, (1000, 750))])
def test_size_is_the_longest_side(size, expected):
    framing = full_framing(portrait(400, 300, 100, 120, 80), size)
    assert framing.photo.shape[:2] == expected
    factor = expected[0] / 400
    landmarks = framing.portrait.face.landmarks + (framing.x, framing.y, 0)
    assert np.allclose(landmarks, portrait(400, 300, 100, 120, 80).face.landmarks * factor, atol=0.01)


def test_a_face_that_a_large_photo_leaves_few_pixels_is_warned_of():
    with pytest.warns(UserWarning, match='only 32 pixels high in a 1280x128 video: choose framing="crop"'):
        full_framing(portrait(400, 4000, 100, 120, 100))


def test_a_face_that_the_size_leaves_too_few_pixels_is_warned_of():
    """A panorama of 320 x 40 was drawn without a word."""
    panorama = portrait(400, 3200, 100, 120, 100)
    for framing in (full_framing, aligned_full):
        with pytest.warns(UserWarning, match='only 10 pixels high in a 320x40 video: choose framing="crop"'):
            framing(panorama, 320)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full_framing(panorama, 800)  # 25 pixels
        crop_framing(panorama, 64)


def test_large_photos_are_reduced():
    framing = full_framing(portrait(1500, 2000, 900, 600, 300))
    assert framing.photo.shape[:2] == (960, LONGEST_FULL)


def test_the_given_photo_is_not_changed():
    given_portrait = portrait(300, 300, 100, 100, 90)
    before = given_portrait.image.copy()
    framing = full_framing(given_portrait)
    framing.frames(np.zeros((1, *framing.portrait.image.shape), np.uint8))
    framing.portrait.image[:] = 0
    assert np.array_equal(given_portrait.image, before)


def test_bars_are_not_drawn():
    given_portrait = portrait(300, 240, 60, 60, 120)
    image = given_portrait.image
    image[:30], image[30:32], image[:, -12:] = 5, 100, 5  # the upper bar ends in two lines that are neither
    x0, y0, x1, y1 = inside_borders(image)
    assert (x0, y1) == (0, 300)
    assert 32 <= y0 <= 36
    assert 222 <= x1 <= 228
    framing = full_framing(given_portrait)
    height, width = framing.portrait.image.shape[:2]
    assert framing.y >= 32
    assert framing.x + width <= 228
    assert framing.free >= {"right"}
    frames = framing.frames(np.zeros((1, height, width, 3), np.uint8))
    assert (frames[0, :30] == image[:30]).all()
    assert (frames[0, :, -12:] == image[:, -12:]).all()
    assert crop_framing(given_portrait, 64).portrait.image[:4].std() > 10


def test_a_plain_background_is_no_bar():
    plain = np.full((300, 300, 3), 240, np.uint8)
    plain[60:, 100:200] = 90  # a person
    assert inside_borders(plain) == (0, 0, 300, 300)
    ramp = np.broadcast_to(np.linspace(0, 255, 300)[:, None, None], (300, 300, 3)).astype(np.uint8)
    assert inside_borders(ramp) == (0, 0, 300, 300)
