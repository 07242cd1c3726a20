"""The official generator as a stream: windows, the end of the speech, absolute motion."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from kptalk.motion.liveportrait.generator import KDTalkerGenerator
from kptalk.motion.liveportrait.space import CANONICAL_FIELD, TOKEN_FIELDS, LivePortraitSource, LivePortraitSpace
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.networks.motion_extractor import MotionExtractor, MotionExtractorConfig
from kptalk.types import Motion


def plain_statistics():
    widths = {**TOKEN_FIELDS, **CANONICAL_FIELD}
    means = {f"{name}_mean": np.zeros(width, np.float32) for name, width in widths.items()}
    return means | {f"{name}_std": np.ones(width, np.float32) for name, width in widths.items()}


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    extractor = MotionExtractor(MotionExtractorConfig(depths=(1, 1, 1, 1), widths=(8, 8, 8, 8)))
    encoder = AudioEncoder(AudioEncoderConfig((2, 2, 4, 4, 8)))
    denoiser = Denoiser(DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, time_dim=16, audio_dim=8, rotary_dim=8))
    space = LivePortraitSpace(extractor, plain_statistics())
    return KDTalkerGenerator(space, encoder, denoiser, np.zeros(80, np.float32), steps=3)


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(1)
    motion = Motion(
        scale=np.full((1, 1), 1.5),
        rotation=rng.uniform(-20, 20, (1, 3)),
        translation=rng.uniform(-0.1, 0.1, (1, 3)),
        expression=rng.uniform(-0.1, 0.1, (1, 21, 3)),
        fps=Fraction(25),
        space="liveportrait",
    )
    canonical = rng.uniform(-0.5, 0.5, (21, 3)).astype(np.float32)
    return LivePortraitSource(canonical, motion, np.zeros((21, 3), np.float32))


def speech(length):
    return np.random.default_rng(length).uniform(-4, 4, (length, 80, 16)).astype(np.float32)


def streamed(generator, source, windows, size, seed=0):
    state, motions, activities = generator.start(source, seed), [], []
    for first in range(0, len(windows), size):
        motion, activity, state = generator.step(windows[first : first + size], state)
        motions.append(motion)
        activities.append(activity)
    motion, activity = generator.finish(state)
    return Motion.concatenate([*motions, motion]), np.concatenate([*activities, activity])


@pytest.mark.parametrize("length", [1, 31, 64, 65, 150])
def test_every_frame_of_speech_gets_motion(generator, source, length):
    motion, activity = streamed(generator, source, speech(length), 40)
    assert len(motion) == len(activity) == length
    assert (motion.space, motion.fps) == ("liveportrait", 25)
    assert np.isfinite(motion.expression).all()


@pytest.mark.parametrize("size", [1, 7, 64, 100])
def test_pieces_give_what_the_whole_gives(generator, source, size):
    windows = speech(150)
    whole, heard = streamed(generator, source, windows, 150)
    pieces, heard_in_pieces = streamed(generator, source, windows, size)
    for name in ("scale", "rotation", "translation", "expression"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), atol=1e-5)
    np.testing.assert_allclose(heard_in_pieces, heard, atol=1e-6)


def test_the_size_stays_that_of_the_source(generator, source):
    motion, _ = streamed(generator, source, speech(80), 80)
    assert np.array_equal(motion.scale, np.full((80, 1), 1.5, np.float32))


def test_a_window_continues_from_the_last_frame_of_the_one_before(generator, source):
    own = generator.space.tokens(source.motion)[0]
    start = generator.start(source, 0)
    assert np.array_equal(start.memory, own)
    motion, activity, after = generator.step(speech(64), start)
    assert (len(motion), activity.shape, len(after.windows)) == (64, (64,), 0)
    assert np.allclose(generator.space.motion(after.memory[None]).rotation, motion.rotation[-1:], atol=1e-4)
    moved, _, _ = generator.step(speech(64), replace(start, memory=own + 1))
    assert not np.allclose(moved.rotation, motion.rotation)


def test_the_last_window_is_filled_with_silence(generator, source):
    heard = []
    hook = generator.encoder.register_forward_pre_hook(lambda _, given: heard.append(given[0].numpy()))
    windows = speech(80)
    streamed(generator, source, windows, 80)
    hook.remove()
    assert [len(part) for part in heard] == [64, 64]
    assert np.array_equal(heard[1][:16], windows[64:])
    assert (heard[1][16:] == -4).all()


def test_the_seed_fixes_the_motion(generator, source):
    first, _ = streamed(generator, source, speech(70), 70, seed=5)
    again, _ = streamed(generator, source, speech(70), 70, seed=5)
    other, _ = streamed(generator, source, speech(70), 70, seed=6)
    assert np.array_equal(first.expression, again.expression)
    assert not np.array_equal(first.expression, other.expression)
    assert generator.with_steps(7).steps == 7
    assert generator.with_steps(None).steps == 3
