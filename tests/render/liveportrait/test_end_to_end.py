"""The whole official system on 32 frames, and its renderer: speech and a picture to frames, as the reference."""

import threading
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from parity_weights import weights

from kptalk.audio.windows import audio_windows
from kptalk.errors import MotionError
from kptalk.motion.filters.kalman import smooth_motion
from kptalk.motion.liveportrait.generator import KDTalkerGenerator
from kptalk.motion.liveportrait.space import LivePortraitSpace, absolute, keypoints
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import OFFICIAL_PREFIX, Denoiser
from kptalk.networks.motion_extractor import MotionExtractor
from kptalk.render.liveportrait.cpu.decoder import FastDecoder
from kptalk.render.liveportrait.cpu.warping import FastWarping
from kptalk.render.liveportrait.renderer import LivePortraitRenderer, to_frames
from kptalk.types import Motion

FRAMES = 32


class Given:
    """A random generator that draws what was stored."""

    def __init__(self, noise):
        self.noise = noise

    def standard_normal(self, shape, dtype):
        assert self.noise.shape == shape
        return self.noise.astype(dtype)


@pytest.fixture(scope="module")
def stored(reference):
    return reference("kdtalker_end_to_end_32f").arrays


@pytest.fixture(scope="module")
def space(parity):
    extractor = MotionExtractor()
    extractor.load_state_dict(weights(parity, "motion_extractor"))
    return LivePortraitSpace(extractor, dict(np.load(parity / "fixtures" / "kdtalker_norm.npz")))


@pytest.fixture(scope="module")
def generator(parity, space):
    encoder, denoiser = AudioEncoder(), Denoiser()
    encoder.load_state_dict(weights(parity, "wav2lip_audio_encoder"))
    state = weights(parity, "kdtalker_point_diffusion")
    denoiser.load_state_dict({name.removeprefix(OFFICIAL_PREFIX): value for name, value in state.items()})
    return KDTalkerGenerator(space, encoder, denoiser, np.zeros(80, np.float32))


@pytest.fixture(scope="module")
def renderer(space, appearance, warping, decoder):
    # Both compute the same in float32, the fast networks in half the time; test_fast.py compares them.
    fast = FastWarping(warping, torch.float32), FastDecoder(decoder, torch.float32)
    return LivePortraitRenderer(space, appearance, *fast)


@pytest.fixture(scope="module")
def prepared(renderer, stored):
    return renderer.prepare(stored["image_rgb_u8"])


@pytest.fixture(scope="module")
def windows(stored):
    samples = stored["wav_int16_16k_mono"].astype(np.float32) / 32768
    windows = audio_windows(samples, Fraction(25))
    assert len(windows) == FRAMES
    return np.concatenate([windows, windows])  # the reference wraps the speech (finding 18)


@torch.inference_mode()
def test_speech_features_equal_the_reference(stored, generator, windows):
    features = generator.encoder(torch.from_numpy(windows))
    np.testing.assert_allclose(features, stored["aud_feat_64"], atol=2.4e-5, rtol=1e-5)


def test_reference_tokens_equal_the_reference(stored, space, prepared):
    own = space.tokens(prepared.source.motion)
    # The spread of a coordinate goes down to 6e-7, so compare what a token stands for.
    np.testing.assert_allclose(own * space.token_std, stored["ref_kp"] * space.token_std, atol=1e-5, rtol=1e-5)
    canonical = space.canonical_token(prepared.source.canonical)
    np.testing.assert_allclose(canonical, stored["ori_kp"][0], atol=1e-5 / space.canonical_std.min(), rtol=1e-5)
    np.testing.assert_allclose(prepared.keypoints, stored["x_s"], atol=1e-5)


@pytest.fixture(scope="module")
def tokens(stored, generator, prepared, windows):
    state = replace(generator.start(prepared.source, 0), windows=windows, rng=Given(stored["initial_noise"]))
    tokens, _, after = generator.draw_window(state)
    assert np.array_equal(after.previous, tokens[-1])
    return tokens


@pytest.fixture(scope="module")
def motion(space, prepared, tokens):
    return absolute(smooth_motion(space.motion(tokens[:FRAMES])), prepared.source.motion)


def test_motion_equals_the_reference(stored, tokens, motion, prepared):
    np.testing.assert_allclose(tokens, stored["x0_64x70"], atol=2.3e-4, rtol=1e-5)
    found = keypoints(prepared.source.canonical, motion)
    np.testing.assert_allclose(found, stored["x_d_32"], atol=3e-5)


def test_frames_equal_the_reference(stored, renderer, prepared, motion):
    for k in (0, 16, 31):
        frame = renderer.draw(prepared, motion[k : k + 1])
        assert (frame.shape, frame.dtype) == ((1, 512, 512, 3), np.uint8)
        difference = np.abs(frame[0, ::8, ::8].astype(int) - stored[f"frame{k}_every8px"])
        # Keypoints that differ by 3e-6, after 50 steps, move the pixels by 1e-5; truncation makes a level of some.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 5e-3
        np.testing.assert_allclose([frame.mean(), frame.std()], stored["frame_mean_std"][k], atol=1e-2)


def test_frames_drawn_side_by_side_are_those_drawn_in_turn(renderer, prepared, motion):
    """With stand-ins for the two networks, of which later frames are ready earlier."""
    left = threading.Semaphore(0)

    def warp(volume, driving, own):
        assert torch.is_inference_mode_enabled()
        if torch.equal(driving[0], first):
            assert left.acquire(timeout=20)  # until another frame is drawn
        else:
            left.release()
        return driving.mean((1, 2))

    def decode(features):
        return torch.sigmoid(features)[:, None, None, None].expand(-1, 3, 512, 512)

    part = motion[:5]
    points = torch.from_numpy(keypoints(prepared.source.canonical, part))
    first = points[0]
    both = LivePortraitRenderer(renderer.space, renderer.appearance, warp, decode, 2, side_by_side=2)
    wanted = to_frames(decode(points.mean((1, 2))))
    assert len(np.unique(wanted)) > 1
    np.testing.assert_array_equal(both.draw(prepared, part), wanted)


def test_an_error_in_a_thread_reaches_the_caller(renderer, prepared, motion):
    def fail(*_):
        raise RuntimeError("out of memory")

    broken = LivePortraitRenderer(renderer.space, renderer.appearance, fail, renderer.decode, side_by_side=2)
    with pytest.raises(RuntimeError, match="out of memory"):
        broken.draw(prepared, motion[:2])


def test_pixels_of_a_frame_equal_the_reference(reference, decoded):
    given = reference("lp_warp_decode")
    frame = to_frames(decoded)[0]
    for found, name in (
        (frame[::8, ::8], "parse_output_u8_every8px"),
        (frame.reshape(-1)[:: int(given.arrays["parse_output_u8__stride"])], "parse_output_u8__sample"),
    ):
        difference = np.abs(found.astype(int) - given.arrays[name])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_pictures_out_of_range_are_clipped_and_truncated():
    picture = torch.tensor([-0.5, 0.0, 0.9999, 1.0, 2.0]).reshape(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_frames(picture)[0, 0, :, 0].tolist() == [0, 0, 254, 255, 255]


def test_motion_of_another_space_is_refused(renderer, prepared, motion):
    foreign = Motion(**{name: getattr(motion, name) for name in ("scale", "rotation", "translation", "expression")},
                     fps=motion.fps, space="facemesh")  # fmt: skip
    with pytest.raises(MotionError, match="facemesh"):
        renderer.draw(prepared, foreign)
