"""States are values: in every stage the same state and the same chunk give the same result, whatever came between."""

import copy
import pickle
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from fakes import fake_generator, plain_portrait, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio import loudness, mean_norm, mel, windows
from kptalk.motion.control import Controller
from kptalk.motion.facemesh.reader import FaceMeshReader
from kptalk.motion.filters import buffer, gaussian, kalman, resample, savgol
from kptalk.motion.filters.buffer import FrameBuffer
from kptalk.motion.liveportrait.generator import KDTalkerGenerator
from kptalk.motion.liveportrait.space import CANONICAL_FIELD, TOKEN_FIELDS, LivePortraitSource, LivePortraitSpace
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.options import Control
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.types import Face, Motion

FPS = Fraction(25)


def samples(seed, length):
    return (0.1 * np.random.default_rng(seed).standard_normal(640 * length)).astype(np.float32)


def mels(seed, length):
    return np.random.default_rng(seed).uniform(-4, 0, (length, 80, 16)).astype(np.float32)


def speech(length):
    return np.linspace(0, 1, length, dtype=np.float32)


def kdtalker():
    """A tiny one, untrained, and a source in its space."""
    torch.manual_seed(0)
    widths = {**TOKEN_FIELDS, **CANONICAL_FIELD}
    statistics = {f"{name}_mean": np.zeros(width, np.float32) for name, width in widths.items()}
    statistics |= {f"{name}_std": np.ones(width, np.float32) for name, width in widths.items()}
    space = LivePortraitSpace(torch.nn.Identity(), statistics)
    encoder = AudioEncoder(AudioEncoderConfig((2, 2, 4, 4, 8)))
    denoiser = Denoiser(DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, time_dim=16, audio_dim=8, rotary_dim=8))
    source = LivePortraitSource(np.zeros((21, 3)), random_motion(1, space="liveportrait"), np.zeros((21, 3)))
    return KDTalkerGenerator(space, encoder, denoiser, np.full(80, -1.5, np.float32), steps=1), source


@pytest.fixture(scope="module")
def stages(space, source):
    """By name: the state at the beginning, a step from chunk and state to results and state, a chunk from a seed."""
    facemesh, (official, photo) = fake_generator(space), kdtalker()
    controller = Controller(space, source, Control(blinks=50), own_blinks=False)
    reader, renderer = FaceMeshReader(space), MeshRenderer(space)
    prepared = renderer.prepare(plain_portrait(space, 64))
    faces = [Face((100 * space.template + 200).astype(np.float32))]

    def motion(seed, length):
        return random_motion(length, seed), speech(length)

    def filtered(smooth, radius):
        return FrameBuffer(), lambda chunk, state: buffer.step(smooth, radius, *chunk, state), motion

    return {
        "mel": (mel.start(), mel.step, samples),
        "loudness": (loudness.start(), lambda chunk, state: loudness.step(chunk, -20.0, state), samples),
        "windows": (windows.start(FPS), windows.step, samples),
        "mean_norm": (
            mean_norm.start(np.zeros(80)),
            lambda chunk, state: (mean_norm.apply(chunk, state), mean_norm.update(chunk, state)),
            mels,
        ),
        "facemesh generator": (facemesh.start(source, 3), facemesh.step, mels),
        "kdtalker generator": (official.start(photo, 3), official.step, mels),
        "gaussian": filtered(gaussian.smooth, gaussian.RADIUS),
        "savgol": filtered(savgol.smooth, 4),
        "kalman": filtered(kalman.smooth, kalman.RADIUS),
        "resample": (
            resample.ResampleState(Fraction(30)),
            lambda chunk, state: resample.step(chunk[0], state),
            motion,
        ),
        "control": (controller.start(3), lambda chunk, state: controller.step(*chunk, state), motion),
        "reader": (
            reader.start(Fraction(2)),
            lambda chunk, state: reader.step([], chunk, state),
            lambda seed, length: faces * length,
        ),
        "mesh renderer": (
            renderer.start(prepared, 3),
            lambda chunk, state: renderer.step(chunk[0], state),
            lambda seed, length: motion(seed, min(length, 2)),
        ),
    }


NAMES = (
    *(
        "mel",
        "loudness",
        "windows",
        "mean_norm",
        "facemesh generator",
        "kdtalker generator",
        "gaussian",
        "savgol",
        "kalman",
    ),
    *("resample", "control", "reader", "mesh renderer"),
)


def content(value):
    """What a result holds, to the bit."""
    if isinstance(value, Motion):
        return [
            value.scale.tobytes(),
            value.rotation.tobytes(),
            value.translation.tobytes(),
            value.expression.tobytes(),
        ]
    return pickle.dumps(value)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=12)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_the_same_state_and_chunk_give_the_same_result(stages, name, lengths, seed):
    state, step, make = stages[name]
    for number, length in enumerate(lengths[:-1]):
        *_, state = step(make(seed + number, length), state)
    chunk = make(seed + 50, lengths[-1])
    *first, after = step(chunk, state)
    *_, elsewhere = step(make(seed + 60, 70), state)  # another future of the same state
    step(make(seed + 70, 5), elsewhere)
    *again, after_again = step(copy.deepcopy(chunk), state)
    assert [content(value) for value in first] == [content(value) for value in again]
    *one, _ = step(chunk, after)
    *two, _ = step(chunk, after_again)
    assert [content(value) for value in one] == [content(value) for value in two]


def test_every_window_has_randomness_of_its_own():
    generator, source = kdtalker()
    state = generator.start(source, 3)
    first, second, again = (generator.step(mels(0, 64), replace(state, number=n))[0] for n in (0, 1, 0))
    assert not np.array_equal(first.rotation, second.rotation)
    assert np.array_equal(first.rotation, again.rotation)
