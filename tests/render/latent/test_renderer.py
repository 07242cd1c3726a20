"""The latent renderer as a stream: the same frames in any chunks, in steady memory, on hostile motion too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawing import StillDenoiser, latent_denoiser, latent_renderer, pixel_denoiser
from fakes import plain_portrait, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.errors import MotionError
from kptalk.render.latent.renderer import CONTEXT, NEW, LatentRenderer
from kptalk.types import Face, Image, Motion, Portrait

T = 25


def drawn(renderer: LatentRenderer, prepared, motion: Motion, chunks=(), seed: int = 0) -> Image:
    """All frames of a motion, given in chunks of these lengths and then the rest at once."""
    state, parts, first = renderer.start(prepared, seed), [], 0
    for length in [*chunks, len(motion)]:
        frames, state = renderer.step(motion[first : first + length], state)
        parts, first = [*parts, frames], first + length
        assert len(state.waiting) <= NEW + 2 * CONTEXT
    return np.concatenate([*parts, renderer.finish(state)])


@pytest.fixture(scope="module")
def small(space):
    """A renderer in pixels, a portrait that it has prepared, a motion, and its frames."""
    renderer = latent_renderer(space)
    prepared, motion = renderer.prepare(plain_portrait(space, 128)), random_motion(T)
    return renderer, prepared, motion, drawn(renderer, prepared, motion)


def test_every_frame_comes_once(small):
    renderer, prepared, motion, frames = small
    assert (frames.shape, frames.dtype) == ((T, 128, 128, 3), np.uint8)
    for count in (0, 1, NEW - 1, NEW + CONTEXT, 2 * NEW + CONTEXT):
        assert len(drawn(renderer, prepared, motion[:count])) == count


@settings(max_examples=5, deadline=None)
@given(chunks=st.lists(st.integers(0, 13), max_size=5))
def test_chunks_do_not_matter(small, chunks):
    renderer, prepared, motion, frames = small
    assert np.array_equal(drawn(renderer, prepared, motion, chunks), frames)


@pytest.mark.slow
def test_chunks_do_not_matter_in_latents(space):
    renderer = latent_renderer(space, latent_denoiser())
    prepared, motion = renderer.prepare(plain_portrait(space, 128)), random_motion(13)
    frames = drawn(renderer, prepared, motion)
    assert np.array_equal(drawn(renderer, prepared, motion, [1, 5, 4]), frames)
    mesh = np.concatenate([renderer.mesh.step(motion, prepared.mesh)[0]])
    assert (frames != mesh).any()


def test_the_seed_decides(small):
    renderer, prepared, motion, frames = small
    assert np.array_equal(drawn(renderer, prepared, motion[:6]), drawn(renderer, prepared, motion[:6]))
    assert (drawn(renderer, prepared, motion[:6], seed=1) != frames[:6]).any()


def test_states_are_values(small):
    renderer, prepared, motion, frames = small
    _, state = renderer.step(motion[:10], renderer.start(prepared, 0))
    once = renderer.step(motion[10:], state)[0]
    assert np.array_equal(renderer.step(motion[10:], state)[0], once)
    assert np.array_equal(renderer.finish(state), renderer.finish(state))
    assert np.array_equal(once[: 2 * NEW - NEW], frames[NEW : 2 * NEW])


def test_all_frames_have_the_same_noise_and_windows_overlap(space):
    denoiser = StillDenoiser()
    renderer = latent_renderer(space, denoiser).with_drawing(3, 2.5)
    prepared = renderer.prepare(plain_portrait(space, 128))
    drawn(renderer, prepared, random_motion(3 * NEW + 1))
    lengths, steps, guidance, noises = zip(*denoiser.windows, strict=True)
    assert lengths == (NEW + CONTEXT, NEW + 2 * CONTEXT, NEW + CONTEXT + 1)
    assert set(steps) == {3}
    assert set(guidance) == {2.5}
    assert all(noise is noises[0] for noise in noises)
    assert noises[0].shape == (1, 1, *denoiser.noise_shape)


def test_what_the_denoiser_leaves_alone_is_the_mesh_renderers(space):
    renderer = latent_renderer(space, StillDenoiser())
    prepared, motion = renderer.prepare(plain_portrait(space, 256)), random_motion(NEW + 1)
    frames, _ = renderer.mesh.step(motion, prepared.mesh)
    ours = drawn(renderer, prepared, motion)
    far = np.abs(ours.astype(int) - frames).max(-1) > 2
    assert far.mean() < 0.02  # only between the lips the square itself is shown


def test_pixels_outside_the_face_are_the_photos(small):
    _, prepared, _, frames = small
    rim = np.ones(frames.shape[1:3], bool)
    rim[4:-4, 4:-4] = False
    assert (frames[:, rim] == prepared.mesh.portrait.image[rim]).all()


def test_memory_does_not_grow(small):
    """However many frames come, at once or by and by, no more wait than two windows need."""
    renderer, prepared, motion, _ = small
    renderer, state, count = replace(renderer, denoiser=StillDenoiser()), renderer.start(prepared, 0), 0
    _, warped = renderer.step(motion[:1], state)
    for _ in range(6):
        frames, state = renderer.draw(list(warped.waiting) * 20, state)
        count += len(frames)
        assert len(state.waiting) < NEW + 2 * CONTEXT
    assert count + len(renderer.finish(state)) == 120


POSES = {"turned": (60, 0, 0), "nodding": (0, 45, 0), "tilted": (0, 0, 80), "away": (180, 0, 0)}


@pytest.mark.parametrize("pose", POSES)
def test_turned_faces_are_drawn(small, pose):
    renderer, prepared, motion, _ = small
    turned = motion[:2].with_fields(rotation=motion[:2].rotation + np.float32([POSES[pose]]))
    assert drawn(renderer, prepared, turned).shape == (2, 128, 128, 3)


@pytest.mark.parametrize("scale", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize("shift", [0.0, 2.0, -40.0])
def test_hostile_places_are_drawn(small, scale, shift):
    renderer, prepared, motion, _ = small
    wild = motion[:1].with_fields(scale=np.float32([[scale]]), translation=np.float32([[shift, -shift, 0]]))
    assert drawn(renderer, prepared, wild).shape == (1, 128, 128, 3)


@pytest.mark.parametrize("at", [(0, 0), (30, 10), (-30, -20)])
def test_faces_that_leave_the_photo_are_drawn(space, at):
    whole = plain_portrait(space, 128)
    moved = Face((whole.face.landmarks + np.float32([*at, 0])).astype(np.float32))
    renderer = latent_renderer(space)
    prepared = renderer.prepare(Portrait(whole.image, moved))
    assert drawn(renderer, prepared, random_motion(1)).shape == (1, 128, 128, 3)


@pytest.mark.parametrize("shape", [(64, 300), (300, 64), (40, 40)])
def test_photos_of_any_shape_are_drawn(space, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    face = plain_portrait(space, min(shape)).face
    renderer = latent_renderer(space)
    assert drawn(renderer, renderer.prepare(Portrait(image, face)), random_motion(2)).shape == (2, *shape, 3)


def test_another_spaces_motion_is_refused(small):
    renderer, prepared, _, _ = small
    with pytest.raises(MotionError):
        renderer.step(random_motion(1, space="liveportrait"), renderer.start(prepared, 0))


def test_steps_and_guidance_change_the_frames(space):
    renderer = latent_renderer(space, pixel_denoiser())
    prepared, motion = renderer.prepare(plain_portrait(space, 128)), random_motion(2)
    plain = drawn(renderer, prepared, motion)
    assert (drawn(renderer.with_drawing(4, None), prepared, motion) != plain).any()
    assert (drawn(renderer.with_drawing(None, 3.0), prepared, motion) != plain).any()
    assert np.array_equal(drawn(renderer.with_drawing(None, None), prepared, motion), plain)
    assert renderer.with_drawing(None, 0.0).guidance == 0
