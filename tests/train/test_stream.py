"""Windows by number, clips from files, a cache with a bound."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import facemesh_space

from kptalk.errors import DatasetError
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.train.data import Inputs, TrainingClip, split_people
from kptalk.train.facemesh import training_clips
from kptalk.train.loop import Draw
from kptalk.train.motion import CONFIGS, FeatureStore, MotionData, WindowSampler
from kptalk.train.sampler import PersonSampler
from kptalk.train.stream import Cache, WindowOrder
from kptalk.train.tokens import open_tokens, read_tokens, token_bytes
from kptalk.weights.header import embedded_path
from kptalk.weights.store import load_model

LENGTHS, PEOPLE = [640, 64, 128, 64], ["a", "b", "c", "c"]


def order(buffer=8, balance=0.0, seed=0, files=None):
    return WindowOrder(LENGTHS, PEOPLE, 64, buffer, balance, seed, files)


def test_an_epoch_has_every_clip_by_its_length():
    windows = order()
    assert windows.epoch_size == 14
    for epoch in range(3):
        drawn = [windows.clip(14 * epoch + number) for number in range(14)]
        assert np.bincount(drawn).tolist() == [10, 1, 2, 1]
    assert [order().clip(n) for n in range(40)] == [windows.clip(n) for n in range(40)]
    assert [order(seed=1).clip(n) for n in range(40)] != [windows.clip(n) for n in range(40)]


def test_balance_gives_people_equal_shares():
    windows = order(balance=1.0)
    drawn = np.bincount([windows.clip(number) for number in range(14 * 60)])
    assert drawn[0] / drawn.sum() == pytest.approx(1 / 3, abs=0.02)
    assert drawn[2] == pytest.approx(2 * drawn[3], rel=0.1)


def test_a_number_is_known_without_those_before():
    forwards = [order().clip(number) for number in range(100)]
    fresh = order()
    assert [fresh.clip(number) for number in reversed(range(100))] == forwards[::-1]


def test_a_buffer_of_one_keeps_files_and_clips_together():
    files = np.array([0, 1, 1, 0])
    drawn = [order(buffer=1, files=files).clip(number) for number in range(14)]
    read = files[drawn]
    assert (np.diff(read) != 0).sum() == 1
    assert (np.diff(drawn) != 0).sum() == 3


def test_a_larger_buffer_mixes_no_further_than_itself():
    lengths, files = [64] * 40, np.arange(40) // 4
    windows = WindowOrder(lengths, [str(k) for k in range(40)], 64, 8, 0.0, 0, files)
    blocks = [{int(files[windows.clip(8 * block + k)]) for k in range(8)} for block in range(5)]
    assert [len(block) for block in blocks] == [2] * 5


def test_the_cache_keeps_to_its_bound():
    made = []

    def make(key):
        made.append(key)
        return np.zeros(key)

    cache = Cache(make, lambda value: value.nbytes, 8 * 10)
    for key in (4, 5, 4, 6, 4, 5):
        assert len(cache[key]) == key
    assert made == [4, 5, 6, 5]  # 6 pushed 5 out, which had waited longest
    assert len(cache[100]) == 100  # larger than the bound, and given all the same
    assert cache[100] is cache[100]


def clip(person, frames, value):
    tokens = np.full((frames, 70), value, np.float32)
    return TrainingClip(person, tokens, tokens[0], np.full((frames * 16 // 5, 80), value, np.float32))


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{k}.safetensors" for k in range(2)]
    paths[0].write_bytes(token_bytes([clip("a", 40, 1), clip("b", 50, 2)]))
    paths[1].write_bytes(token_bytes([clip("a", 60, 3)]))
    return paths


def test_clips_are_read_when_they_are_asked_for(files):
    clips = read_tokens(files)
    assert (list(clips.people), list(clips.lengths), clips.shards.tolist()) == (
        ["a", "b", "a"],
        [40, 50, 60],
        [0, 0, 1],
    )
    assert [len(each) for each in clips] == [40, 50, 60]
    assert clips[-1].tokens[0, 0] == 3
    chosen, held_out = split_people(clips)
    assert {each.identity for each in chosen} & {each.identity for each in held_out} == set()
    assert len(chosen) + len(held_out) == 3
    drawn = [PersonSampler(clips).draw(np.random.default_rng(k)).identity for k in range(60)]
    assert 15 < drawn.count("a") < 45


def test_a_damaged_file_is_named(files):
    clips = read_tokens(files)
    files[1].write_bytes(b"junk")
    with pytest.raises(DatasetError, match=r"1\.safetensors"):
        clips[2]


def test_tokens_of_a_dataset_are_made_once_and_anew_for_another_space(stored, tracked, space_folder):
    inputs = Inputs(stored, space_folder, 0, "cpu")
    clips = open_tokens(inputs, FaceMeshSpace)
    expected = training_clips(facemesh_space(), tracked)
    assert sorted(clips.people) == sorted(each.identity for each in expected)
    for wanted in expected:
        found = next(each for each in clips if each.identity == wanted.identity)
        assert np.allclose(found.tokens, wanted.tokens, atol=0.02)
        assert np.abs(found.mel - wanted.mel).mean() < 0.01  # the dataset's sound has 16 bits
    (made,) = (space_folder / "tokens-facemesh").iterdir()
    before = made.stat().st_mtime_ns
    open_tokens(inputs, FaceMeshSpace)
    assert made.stat().st_mtime_ns == before
    made.write_bytes(token_bytes(expected[:1], "of another space"))
    assert len(open_tokens(inputs, FaceMeshSpace)) == len(expected)


def test_windows_cut_in_threads_are_the_same(tracked):
    space = facemesh_space()
    clips, mean, config = training_clips(space, tracked), np.zeros(80, np.float32), CONFIGS["embedded"]
    encoder = load_model(embedded_path("audio"), AudioEncoder, AudioEncoderConfig)
    store = FeatureStore(clips, encoder, mean, 0, 100)
    sampler = WindowSampler.of(MotionData(space, clips, [], mean, config, encoder, 0, store))
    draw, device = Draw(0, 3, 0, range(30, 36)), torch.device("cpu")
    plain = sampler.batch(draw, device)
    with ThreadPoolExecutor(3) as threads:
        threaded = replace(sampler, threads=threads).batch(draw, device)
    assert all(torch.equal(a, b) for a, b in zip(plain, threaded, strict=True))
    assert [part.shape for part in plain] == [(6, 2, 70), (6, 64, 70), (6, 64, 512), (6,), (6, 64, 70)]
    alone = sampler.batch(replace(draw, numbers=range(33, 34)), device)
    assert all(torch.equal(a[3:4], b) for a, b in zip(plain, alone, strict=True))
