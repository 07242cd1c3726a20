"""Datasets: what is written comes back, part by part, and what is damaged is named."""

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from kptalk.errors import DatasetError
from kptalk.train.dataset import SAMPLES, ClipEntries, Dataset, Quality, Texts, TrackedClip
from kptalk.train.shards import ShardWriter, record_of, shard_heads, write_dataset, write_index
from kptalk.types import Motion


def made_up(frames, seed):
    rng = np.random.default_rng(seed)
    sound = rng.uniform(-1, 1, frames * SAMPLES + 100).astype(np.float32)
    landmarks = rng.uniform(0, 200, (frames, 478, 3)).astype(np.float32)
    return TrackedClip(landmarks, sound, f"person {seed % 2}", first=seed)


def made_up_motion(frames, seed):
    rng = np.random.default_rng(seed)
    parts = (rng.standard_normal((frames, *shape)) for shape in ((1,), (3,), (3,), (21, 3)))
    return Motion(*(part.astype(np.float32) for part in parts), Fraction(25), "facemesh")


def write_five(folder):
    """Five clips in several shards."""
    records = [
        record_of(made_up(10 + seed, seed), f"a/{seed}", motion=made_up_motion(10 + seed, seed)) for seed in range(5)
    ]
    write_dataset(folder, records, limit=400_000)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_five(tmp_path / "set")


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_clips_come_back_whole(stored, tracked):
    dataset = Dataset.open(stored)
    assert len(dataset) == len(tracked)
    for found, source in zip(dataset, tracked, strict=True):
        assert np.array_equal(found.landmarks, source.landmarks)
        assert np.abs(found.sound - source.sound).max() < 1e-4
        assert (found.identity, found.motion) == (source.identity, None)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 4), st.integers(-20, 20), st.integers(-20, 20))
def test_a_part_is_what_the_whole_has_there(tmp_path_factory, number, start, stop):
    folder = tmp_path_factory.getbasetemp() / "parts"
    if not folder.exists():
        write_five(folder)
    dataset = Dataset.open(folder)
    entry = dataset.clips[number]
    frames = range(entry.frames)[start:stop]
    if not frames:
        with pytest.raises(IndexError, match="no frames"):
            dataset.load(entry, slice(start, stop))
        return
    whole, part = dataset.load(entry), dataset.load(entry, slice(start, stop))
    assert np.array_equal(part.landmarks, whole.landmarks[start:stop])
    assert np.array_equal(part.motion.expression, whole.motion.expression[start:stop])
    assert np.array_equal(part.motion.rotation, made_up_motion(entry.frames, number).rotation[start:stop])
    assert part.first == whole.first + frames[0]
    end = len(whole.sound) if frames[-1] == entry.frames - 1 else SAMPLES * (frames[-1] + 1)
    assert np.array_equal(part.sound, whole.sound[SAMPLES * frames[0] : end])


def test_shards_are_bounded_and_the_index_says_where_clips_lie(folder):
    dataset = Dataset.open(folder)
    shards = sorted(folder.glob("shard-*"))
    assert len(shards) > 1
    assert all(path.stat().st_size < 450_000 for path in shards)
    assert [entry.name for entry in dataset.clips] == [f"a/{seed}" for seed in range(5)]
    assert dataset.clips.frames.tolist() == [10, 11, 12, 13, 14]
    assert list(dataset.clips.people) == ["person 0", "person 1"]
    assert [entry.identity for entry in dataset.clips[1:3]] == ["person 1", "person 0"]
    assert dataset.card["frames"] == 60
    assert dataset.card["people"] == 2


def test_statistics_are_those_of_all_clips(folder):
    dataset = Dataset.open(folder)
    motion, mel = (np.concatenate(x) for x in zip(*((c.motion.rotation, c.mel()[0]) for c in dataset), strict=True))
    for key, values in (("motion", motion), ("mel", mel)):
        columns = slice(1, 4) if key == "motion" else slice(None)  # the rotation
        assert np.allclose(dataset.card["statistics"][key]["mean"][columns], values.mean(0), atol=1e-3)
        assert np.allclose(dataset.card["statistics"][key]["std"][columns], values.std(0), atol=1e-3)


def test_the_same_clips_give_the_same_bytes(folder, tmp_path):
    write_five(tmp_path / "b")
    assert files(folder) == files(tmp_path / "b")


def test_it_can_be_sent_to_another_process(folder):
    dataset = Dataset.open(folder)
    first = dataset.load(dataset.clips[0])
    again = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(again.load(again.clips[0]).landmarks, first.landmarks)


def test_quality_is_kept_and_may_be_unknown(tmp_path):
    writer = ShardWriter(tmp_path)
    writer.add(record_of(made_up(5, 0), "a", Quality(120, sync_lag=-1)))
    writer.note({"left": "out"})
    writer.flush()
    write_index(tmp_path, {"jobs": 1})
    quality = Dataset.open(tmp_path).clips[0].quality
    assert (quality.face_width, quality.sync_lag) == (120, -1)
    assert np.isnan(quality.yaw)
    assert next(shard_heads(tmp_path))["notes"] == [{"left": "out"}]
    json.loads((tmp_path / "dataset.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_the_last_digits_of_a_measured_number_change_no_bytes():
    """Sums differ in them from one process to the next."""
    rows = [record_of(made_up(5, 0), "a", Quality(yaw=yaw)).row for yaw in (-23.41338748253733, -23.413387482537328)]
    assert rows[0]["quality"] == rows[1]["quality"]


@given(st.lists(st.text()))
def test_texts_are_kept(texts):
    found = Texts(*Texts.arrays(texts))
    assert found[:] == texts
    assert list(found) == texts


def test_no_dataset_and_an_unfinished_one_are_told_apart(folder, tmp_path):
    with pytest.raises(DatasetError, match=r"is no dataset.*kptalk prepare"):
        Dataset.open(tmp_path)
    (folder / "dataset.json").unlink()
    with pytest.raises(DatasetError, match=r"is not finished"):
        Dataset.open(folder)


def test_two_clips_of_one_name_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="two clips of one name"):
        write_dataset(tmp_path / "set", [record_of(made_up(5, seed), "a") for seed in (0, 1)])


@pytest.mark.parametrize("name", ["dataset.json", "index.safetensors", "shard-00000.safetensors"])
def test_damaged_files_are_named(folder, name):
    whole, rng, refused = (folder / name).read_bytes(), np.random.default_rng(0), []
    contents = [b"", b"x" * 8, whole[:300]]
    contents += [mutated(whole, rng) for _ in range(40 if name.endswith("safetensors") else 0)]
    for content in contents:
        (folder / name).write_bytes(content)
        try:
            dataset = Dataset.open(folder)
            dataset.load(dataset.clips[0])
        except DatasetError as error:
            refused.append(str(error))
    assert len(refused) >= 3
    assert all(str(folder) in reason for reason in refused)


def test_rows_are_made_when_asked_for(folder):
    clips = Dataset.open(folder).clips
    assert isinstance(clips, ClipEntries)
    assert clips[-1].name == "a/4"
    with pytest.raises(IndexError):
        clips[5]
