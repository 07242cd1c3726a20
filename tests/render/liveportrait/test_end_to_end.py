"""The whole official system on 32 frames, and its renderer: speech and a picture to frames, as the reference."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from parity_weights import weights

from kptalk.audio.windows import SpeechWindows
from kptalk.face.framing import EDGES
from kptalk.motion.filters import kalman
from kptalk.motion.liveportrait.generator import KDTalkerGenerator
from kptalk.motion.liveportrait.space import LivePortraitSpace, keypoints
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import OFFICIAL_PREFIX, Denoiser
from kptalk.networks.motion_extractor import MotionExtractor
from kptalk.networks.stitching import EYE, StitchingNetwork
from kptalk.render.liveportrait.cpu.decoder import FastDecoder
from kptalk.render.liveportrait.cpu.warping import FastWarping
from kptalk.render.liveportrait.renderer import LivePortraitRenderer, to_frames
from kptalk.types import Face, Portrait

FRAMES = 32


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
    # Both compute the same in float32, the fast networks in half the time; test_cpu.py compares them.
    fast = FastWarping(warping, torch.float32), FastDecoder(decoder, torch.float32)
    return LivePortraitRenderer(space, appearance, *fast, StitchingNetwork(), StitchingNetwork(EYE))


@pytest.fixture(scope="module")
def prepared(renderer, stored):
    """The picture is the crop already, and nothing is stitched: what KDTalker does."""
    return renderer.prepare(Portrait(stored["image_rgb_u8"], Face(np.zeros((478, 3), np.float32))), EDGES)


@pytest.fixture(scope="module")
def windows(stored):
    samples = stored["wav_int16_16k_mono"].astype(np.float32) / 32768
    windows = np.concatenate(list(SpeechWindows([samples], Fraction(25))))
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
def tokens(stored, generator, space, prepared, windows):
    references = np.stack([space.canonical_token(prepared.source.canonical), space.tokens(prepared.source.motion)[0]])
    return generator.sample_window(windows, references[None], stored["initial_noise"])


@pytest.fixture(scope="module")
def motion(space, prepared, tokens):
    return space.absolute(kalman.smooth(space.motion(tokens[:FRAMES])), prepared.source.motion)


def test_motion_equals_the_reference(stored, tokens, motion, prepared):
    np.testing.assert_allclose(tokens, stored["x0_64x70"], atol=2.3e-4, rtol=1e-5)
    found = keypoints(prepared.source.canonical, motion)
    np.testing.assert_allclose(found, stored["x_d_32"], atol=3e-5)


def test_frames_equal_the_reference(stored, renderer, prepared, motion):
    for k in (0, 16, 31):
        frame, _ = renderer.step(motion[k : k + 1], renderer.start(prepared, 0))
        assert (frame.shape, frame.dtype) == ((1, 512, 512, 3), np.uint8)
        difference = np.abs(frame[0, ::8, ::8].astype(int) - stored[f"frame{k}_every8px"])
        # Keypoints that differ by 3e-6, after 50 steps, move the pixels by 1e-5; truncation makes a level of some.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 5e-3
        np.testing.assert_allclose([frame.mean(), frame.std()], stored["frame_mean_std"][k], atol=1e-2)


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
