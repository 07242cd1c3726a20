"""Training data: what the network is trained on is what it will see."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import facemesh_space
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.audio.mel import SILENCE
from kptalk.errors import DatasetError
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.train.data import load_clips, save_clips, split_people
from kptalk.train.facemesh import mirrored, training_clip
from kptalk.train.sampler import PersonSampler, augment_mel, cut_sequence, interpolate, mirror_tokens


@pytest.fixture(scope="module")
def space():
    return facemesh_space()


@pytest.fixture(scope="module")
def clips(space, tracked):
    return [training_clip(space, source) for source in tracked]


@pytest.fixture(scope="module")
def mel(tracked):
    return tracked[0].mel()[0]


def test_tokens_and_mel_are_in_step(clips, tracked):
    for clip, source in zip(clips, tracked, strict=True):
        assert clip.tokens.shape[1] == 70
        assert clip.tokens.dtype == np.float32
        assert len(source.landmarks) - 1 <= len(clip.tokens) <= len(source.landmarks)
        assert clip.canonical.shape == (70,)
        assert not clip.canonical[:7].any()
        assert clip.mel.shape[1] == 80


def test_tokens_have_ordinary_size(clips):
    tokens = np.concatenate([clip.tokens for clip in clips])
    assert 0.2 < tokens[:, 7:].std() < 3
    assert np.abs(tokens).max() < 20
    for clip in clips:
        assert np.abs(np.median(clip.tokens[:, :7], 0)).max() < 0.5


def test_tokens_say_how_far_the_lips_are_open(space, clips, tracked):
    for clip, source in zip(clips, tracked, strict=True):
        real = lip_opening(source.landmarks)[: len(clip.tokens)]
        assert np.corrcoef(clip.tokens[:, 7:] @ space.lip_tokens(), real)[0, 1] > 0.9


def test_blinks_are_taken_out(space, clips, tracked):
    for clip, source in zip(clips, tracked, strict=True):
        expression = (clip.tokens[:, 7:] @ space.unwhiten).reshape(-1, 21, 3)
        lids = lid_opening(space.template + space.decode(expression)).mean(-1)
        real = lid_opening(source.landmarks).mean(-1)
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


def test_people_are_either_trained_on_or_held_out(clips):
    chosen, held_out = split_people(clips)
    assert len(chosen) + len(held_out) == len(clips)
    assert not {clip.identity for clip in chosen} & {clip.identity for clip in held_out}
    assert chosen
    assert held_out
    assert split_people(clips) == (chosen, held_out)
    with pytest.raises(DatasetError, match="two people"):
        split_people(clips[:1])


def test_shards_and_packed_clips_are_read_as_they_were_written(stored, tracked, clips, tmp_path):
    save_clips(clips, tmp_path / "clips.safetensors")
    for found, clip in zip(load_clips(tmp_path / "clips.safetensors"), clips, strict=True):
        assert found.identity == clip.identity
        for name in ("tokens", "canonical", "mel"):
            assert np.array_equal(getattr(found, name), getattr(clip, name).astype(np.float16).astype(np.float32))


def test_sampler_draws_every_person_equally_and_long_clips_more_often(clips):
    short, long = (replace(clips[0], tokens=clips[0].tokens[:count]) for count in (20, 60))
    sampler, rng = PersonSampler([short, long, clips[1]]), np.random.default_rng(0)
    drawn = [sampler.draw(rng) for _ in range(800)]
    assert sum(clip is clips[1] for clip in drawn) == pytest.approx(400, abs=60)
    assert sum(clip is long for clip in drawn) == pytest.approx(300, abs=60)
    assert sorted(clip.identity for clip in sampler.draw_people(rng, 5)) == ["a", "b"]
    assert len(list(sampler.draw_people(rng, 1))) == 1


def test_interpolation_between_frames():
    values = np.array([[0.0, 4], [1, 2], [3, 2]], np.float32)
    assert np.allclose(interpolate(values, np.array([0, 0.5, 2.0])), [[0, 4], [0.5, 3], [3, 2]])


def test_sequences_have_one_length_however_short_the_clip(space, clips):
    mirror, mean = mirror_tokens(space), np.full(80, -1.5, np.float32)
    short = replace(clips[0], tokens=clips[0].tokens[:20])
    for clip in (short, clips[1]):
        for seed in range(5):
            windows, tokens = cut_sequence(clip, mean, mirror, np.random.default_rng(seed))
            assert windows.shape == (64, 80, 16)
            assert tokens.shape == (64, 70)
            assert windows.dtype == tokens.dtype == np.float32
