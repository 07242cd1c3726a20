"""Training data: what the network is trained on is what it will see."""

from fractions import Fraction

import numpy as np
import pytest
from fakes import facemesh_space
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio.mel import SILENCE, mel_spectrogram
from kptalk.audio.windows import audio_windows
from kptalk.face.topology import lid_opening, lip_opening
from kptalk.train.data import augment_mel, mel_windows, mirror_tokens, split_fold, training_clip
from kptalk.train.space import mirrored


@pytest.fixture(scope="module")
def space():
    return facemesh_space()


@pytest.fixture(scope="module")
def clips(space, shards):
    return [training_clip(space, shard.landmarks, shard.sound, shard.identity) for shard in shards]


@pytest.fixture(scope="module")
def mel(shards):
    return mel_spectrogram(shards[0].sound).T.astype(np.float32)


def test_windows_are_those_of_the_pipeline(shards, mel):
    wanted = audio_windows(shards[0].sound, Fraction(25))
    found = mel_windows(mel, np.arange(len(wanted)))
    assert np.abs(found - wanted).max() < 1e-4


def test_windows_between_frames_lie_between(mel):
    assert np.array_equal(mel_windows(mel, np.array([10.0, 30.0])), mel_windows(mel, np.array([10, 30])))
    before, between, after = mel_windows(mel, np.array([20, 20.5, 21]))
    levels = [window.mean() for window in (before, between, after)]
    assert min(levels[0], levels[2]) - 0.05 <= levels[1] <= max(levels[0], levels[2]) + 0.05


def test_tokens_and_mel_are_in_step(clips, shards):
    for clip, shard in zip(clips, shards, strict=True):
        assert clip.tokens.shape[1] == 70
        assert clip.tokens.dtype == np.float32
        assert len(shard.landmarks) - 1 <= len(clip.tokens) <= len(shard.landmarks)
        assert clip.canonical.shape == (70,)
        assert not clip.canonical[:7].any()
        assert clip.mel.shape[1] == 80


def test_tokens_have_ordinary_size(clips):
    tokens = np.concatenate([clip.tokens for clip in clips])
    assert 0.2 < tokens[:, 7:].std() < 3
    assert np.abs(tokens).max() < 20
    for clip in clips:
        assert np.abs(np.median(clip.tokens[:, :7], 0)).max() < 0.5


def test_tokens_say_how_far_the_lips_are_open(space, clips, shards):
    for clip, shard in zip(clips, shards, strict=True):
        real = lip_opening(shard.landmarks)[: len(clip.tokens)]
        assert np.corrcoef(clip.tokens[:, 7:] @ space.lip_tokens(), real)[0, 1] > 0.9


def test_blinks_are_taken_out(space, clips, shards):
    for clip, shard in zip(clips, shards, strict=True):
        expression = (clip.tokens[:, 7:] @ space.unwhiten).reshape(-1, 21, 3)
        lids = lid_opening(space.template + space.decode(expression)).mean(-1)
        real = lid_opening(shard.landmarks).mean(-1)
        if real.min() < 0.5 * np.median(real):  # there is a blink
            assert lids.min() > 0.6 * np.median(lids)


def test_mirror_of_tokens_is_the_mirrored_face(space, clips):
    matrix = mirror_tokens(space)
    tokens = clips[0].tokens
    assert np.abs(tokens @ matrix @ matrix - tokens).max() < 0.05 * np.abs(tokens).max()
    flipped = tokens @ matrix
    assert np.allclose(flipped[:, :7], tokens[:, :7] * (1, -1, 1, -1, -1, 1, 1), atol=1e-5)
    faces = [space.decode((t[:, 7:] @ space.unwhiten).reshape(-1, 21, 3)) for t in (tokens, flipped)]
    assert np.abs(mirrored(faces[0], space.mirror) - faces[1]).max() < 0.03


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_augmented_sound_is_still_a_spectrogram(mel, seed):
    out = augment_mel(mel, np.random.default_rng(seed))
    assert out.shape == mel.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert out.min() >= SILENCE
    assert out.max() <= -SILENCE
    assert np.array_equal(out, augment_mel(mel, np.random.default_rng(seed)))


def test_augmentation_keeps_the_rhythm(mel):
    kept = [np.corrcoef(mel.mean(1), augment_mel(mel, np.random.default_rng(seed)).mean(1))[0, 1] for seed in range(40)]
    assert np.median(kept) > 0.9


def test_people_are_either_learned_from_or_judged_by(clips):
    kept, held = split_fold(clips)
    assert sorted(kept + held) == list(range(len(clips)))
    assert not {clips[i].identity for i in kept} & {clips[i].identity for i in held}
    assert kept
    assert held
    assert split_fold(clips) == (kept, held)
