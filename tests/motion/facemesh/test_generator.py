"""Windows of motion: any length, any chunks, silence after the end, joins without a step, one seed one motion."""

import numpy as np
import pytest
import torch
from fakes import PRIOR, FakeDenoiser, FakeEncoder, close, fake_generator, in_both_spaces, same
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio import mean_norm
from kptalk.audio.mel import SILENCE
from kptalk.face.topology import LID_PAIRS, LIPS_INNER
from kptalk.motion.facemesh import generator
from kptalk.motion.facemesh.generator import (
    LOOKAHEAD,
    N_POSE,
    OVERLAP,
    FaceMeshGenerator,
    SamplerConfig,
)
from kptalk.motion.generator import WINDOW, speech_activity
from kptalk.types import Motion

STRIDE = WINDOW - LOOKAHEAD - OVERLAP


def sound(length, seed=0):
    """Mel windows whose mean is the number of the frame, over a thousand; none like another."""
    rng = np.random.default_rng(seed)
    return (np.arange(length)[:, None, None] / 1000 + 0.01 * rng.standard_normal((length, 80, 16))).astype(np.float32)


def made(maker, source, windows, cuts=(), seed=0):
    state, parts, activities = maker.start(source, seed), [], []
    for part in np.split(windows, list(cuts)):
        motion, activity, state = maker.step(part, state)
        assert len(motion) == len(activity)
        parts.append(motion)
        activities.append(activity)
    motion, activity = maker.finish(state)
    assert len(motion) == len(activity)
    return Motion.concatenate([*parts, motion]), np.concatenate([*activities, activity])


@pytest.mark.parametrize("length", [1, 2, 5, 9, 10, 11, 57, 58, 59, 63, 64, 65, 74, 106, 111, 112, 113, 200])
def test_every_length_gives_that_many_frames(space, source, length):
    motion, activity = made(fake_generator(space), source, sound(length))
    assert (len(motion), len(activity)) == (length, length)
    assert all(np.isfinite(getattr(motion, name)).all() for name in ("scale", "rotation", "translation", "expression"))


def test_no_sound_gives_no_frames(space, source):
    assert len(made(fake_generator(space), source, sound(0))[0]) == 0


@in_both_spaces
@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 180), data=st.data())
def test_chunks_do_not_matter(space, source, length, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))
    maker = fake_generator(space)
    motion, activity = made(maker, source, sound(length), cuts)
    whole, all_activity = made(maker, source, sound(length))
    assert close(motion, whole, 1e-5)
    assert np.allclose(activity, all_activity)


@in_both_spaces
def test_same_seed_same_motion_and_another_seed_another(space, source):
    first, again, other = (made(fake_generator(space), source, sound(150), seed=seed)[0] for seed in (3, 3, 4))
    assert same(first, again)
    assert np.abs(first.rotation - other.rotation).mean() > 0.1


def test_frames_come_before_the_end_of_the_sound(space, source):
    maker = fake_generator(space)
    motion, _, state = maker.step(sound(WINDOW), maker.start(source, 0))
    assert len(motion) == WINDOW - LOOKAHEAD
    motion, _, state = maker.step(sound(STRIDE), state)
    assert len(motion) == STRIDE


@in_both_spaces
def test_memory_of_a_stream_does_not_grow(space, source):
    maker = fake_generator(space)
    state = maker.start(source, 0)
    for _ in range(12):
        _, _, state = maker.step(sound(25), state)
        assert len(state.windows) < WINDOW
        assert state.memory.tokens.shape[1] <= 1 + OVERLAP + LOOKAHEAD


@pytest.mark.parametrize("length", [1, 30, 64, 65, 100, 112, 130])
def test_after_the_end_there_is_silence_never_the_beginning(space, source, length):
    encoder = FakeEncoder()
    maker = FaceMeshGenerator(space, encoder, FakeDenoiser(), np.zeros(80, np.float32), SamplerConfig(steps=1))
    windows = sound(length)
    made(maker, source, windows)
    offsets = []
    for number, seen in enumerate(encoder.seen):
        assert len(seen) == WINDOW
        first = number * STRIDE
        here = windows[first : first + WINDOW]
        # The level takes the same 80 numbers off every window that is seen at once.
        offsets.append((seen[: len(here)] - here).mean((0, 2)))
        assert np.allclose(seen[: len(here)] - offsets[-1][:, None], here, atol=1e-4)
        assert np.allclose(seen[len(here) :] - offsets[-1][:, None], SILENCE, atol=1e-4)
    assert (len(encoder.seen) - 1) * STRIDE + WINDOW >= length
    if len(encoder.seen) > 1:  # and no window was drawn in vain
        assert (len(encoder.seen) - 2) * STRIDE + WINDOW - LOOKAHEAD < length


def given_out(drawn):
    """The face of the first motion drawn and the pose of the second, (2, ..., 70) to (..., 70)."""
    return np.concatenate([drawn[1, ..., :N_POSE], drawn[0, ..., N_POSE:]], -1)


@pytest.fixture
def no_return(monkeypatch):
    """The pose is given out as it is drawn: the head does not come back to where it is in the photo."""
    monkeypatch.setattr(generator, "POSE_MEMORY", 1e9)


@in_both_spaces
def test_held_frames_are_not_drawn_again(space, source, no_return):
    """What the second window holds of the first is what came out of the first."""
    held = []

    class Spy(FakeDenoiser):
        def forward(self, x, t, audio):
            if int(t[0]) == 0:
                held.append(x[:, 2 : 2 + OVERLAP].numpy().copy())
            return super().forward(x, t, audio)

    maker = FaceMeshGenerator(space, FakeEncoder(), Spy(), np.zeros(80, np.float32), SamplerConfig(steps=20))
    motion, _ = made(maker, source, sound(WINDOW + STRIDE - 20))  # two windows
    tokens = space.tokens(motion, source.motion)
    # At the last step (t = 0) next to no noise is left on what is held.
    assert np.abs(given_out(held[-1]) - tokens[STRIDE : STRIDE + OVERLAP]).max() < 0.1


@in_both_spaces
def test_the_second_reference_is_the_frame_before_the_held_ones(space, source, no_return):
    references = []

    class Spy(FakeDenoiser):
        def forward(self, x, t, audio):
            references.append(x[:, :2].numpy().copy())
            assert not audio[:, :2].any()
            return super().forward(x, t, audio)

    maker = FaceMeshGenerator(space, FakeEncoder(), Spy(), np.zeros(80, np.float32), SamplerConfig(steps=1))
    motion, _ = made(maker, source, sound(WINDOW + STRIDE))
    tokens = space.tokens(motion, source.motion)
    for drawn in references[0]:
        assert np.allclose(drawn, [space.canonical_token(source.canonical), np.zeros(70)], atol=1e-5)
    assert np.allclose(references[1][:, 0], references[0][:, 0])
    assert np.allclose(given_out(references[1][:, 1]), tokens[STRIDE - 1], atol=1e-3)


def test_joins_are_no_rougher_than_the_rest(space, source):
    """With a denoiser that only smooths what it is given, speed at the joins is that of the insides."""

    class Smooth(FakeDenoiser):
        def forward(self, x, t, audio):
            kernel = torch.ones(70, 1, 9) / 9
            frames = torch.nn.functional.pad(x[:, 2:].transpose(1, 2), (4, 4), mode="replicate")
            mean = torch.nn.functional.conv1d(frames, kernel, groups=70).transpose(1, 2)
            return torch.cat([x[:, :2], x[:, 2:] - 0.9 * mean], 1)

    maker = FaceMeshGenerator(space, FakeEncoder(), Smooth(), np.zeros(80, np.float32), SamplerConfig(steps=10))
    motion, _ = made(maker, source, sound(WINDOW - LOOKAHEAD + 12 * STRIDE))
    speed = np.linalg.norm(np.diff(space.tokens(motion, source.motion), axis=0), axis=1)
    joins = np.arange(WINDOW - LOOKAHEAD - 1, len(speed), STRIDE)
    inside = np.delete(speed, joins)
    assert np.median(speed[joins]) < 1.5 * np.median(inside)


def test_steps_can_be_chosen(space, source):
    maker = fake_generator(space, SamplerConfig(steps=7))
    assert maker.with_steps(None).config.steps == 7
    assert maker.with_steps(3).config.steps == 3
    assert maker.config.steps == 7


def test_activity_is_one_in_speech_and_zero_in_silence():
    windows = np.full((120, 80, 16), SILENCE, np.float32)
    windows[40:80] = -1.0
    state = mean_norm.update(windows, mean_norm.start(np.full(80, -1.2, np.float32)))
    activity = speech_activity(windows, state)
    assert activity.shape == (120,)
    assert (activity[42:78] == 1).all()
    assert not activity[:33].any()
    assert not activity[86:].any()
    assert activity[38] > 0  # lips open before the sound


def test_activity_of_silence_alone_is_zero():
    windows = np.full((80, 80, 16), SILENCE, np.float32)
    assert not speech_activity(windows, mean_norm.start(np.full(80, -1.2, np.float32))).any()


def drawn_with(space, source, length, **numbers):
    maker = fake_generator(space, SamplerConfig(steps=2, **numbers))
    return space.tokens(made(maker, source, sound(length))[0], source.motion)


def test_the_mouth_is_amplified_and_the_rest_is_left(space, source):
    plain, loud = (drawn_with(space, source, 200, mouth_gain=gain) for gain in (1, 2))
    assert np.allclose(plain[:, :N_POSE], loud[:, :N_POSE], atol=1e-4)
    change = loud[:, N_POSE:] - plain[:, N_POSE:]
    moved = np.abs(space.decode((change @ space.unwhiten).reshape(-1, 21, 3))).max((0, 2))
    assert moved[LIPS_INNER].mean() > 1e-3
    assert moved[LID_PAIRS.ravel()].mean() < 0.2 * moved[LIPS_INNER].mean()
    # Where windows meet, the mean that it is amplified about goes on: no step that was not there before.
    steps, before = (np.abs(np.diff(tokens @ space.lip_tokens())) for tokens in (change, plain[:, N_POSE:]))
    joins = np.arange(WINDOW - LOOKAHEAD - 1, len(steps), STRIDE)
    assert (steps[joins] < 1.2 * before[joins] + 1e-4).all()


def test_pose_gain_scales_the_pose_alone(space, source):
    plain, wide = (drawn_with(space, source, 100, pose_gain=gain) for gain in (1, 1.5))
    assert np.allclose(wide[:, :N_POSE], 1.5 * plain[:, :N_POSE], atol=1e-3)
    assert np.allclose(wide[:, N_POSE:], plain[:, N_POSE:], atol=1e-3)


def test_the_head_comes_back_to_where_it_is_in_the_photo(space, source):
    """A denoiser that always wants the head turned moves it, and does not keep it turned for minutes."""

    class Turned(FakeDenoiser):
        def forward(self, x, t, audio):
            return self.scale * (x - 1.0)

    maker = FaceMeshGenerator(space, FakeEncoder(), Turned(), PRIOR, SamplerConfig(steps=2, pose_noise=0.0))
    motion, _, _ = maker.step(np.zeros((2000, 80, 16), np.float32), maker.start(source, 0))
    away = np.abs(motion.rotation - source.motion.rotation).max(1)
    assert away[:100].max() > 1
    assert away[-100:].max() < 0.2 * away[:100].max()
