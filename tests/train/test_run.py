"""``kptalk train`` from shards to weights that draw."""

import numpy as np
import pytest
from fakes import plain_portrait
from safetensors.numpy import load_file, save_file

from kptalk.errors import DatasetError, OptionError, OutputError, WeightsError
from kptalk.media.audio import Speech
from kptalk.pipeline import Pipeline
from kptalk.train.run import NETWORKS, train_network
from kptalk.types import Motion
from kptalk.weights.store import embedded_path


def store(shards, folder):
    folder.mkdir()
    for number, shard in enumerate(shards):
        tensors = {"landmarks": shard.landmarks, "sound": np.round(shard.sound * 32767).astype(np.int16)}
        save_file(tensors, folder / f"{number}.safetensors", metadata={"identity": shard.identity})
    return folder


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("kptalk.train.audio.BATCH", 1)
    monkeypatch.setattr("kptalk.train.lips.BATCH", 2)
    monkeypatch.setattr("kptalk.train.motion.BATCH", 2)
    monkeypatch.setattr("kptalk.train.sync.BATCH", 2)
    monkeypatch.setattr("kptalk.train.run.VERSIONS", 1)


@pytest.mark.usefixtures("small")
def test_networks_one_after_the_other_talk(shards, tmp_path):
    data, folder = store(shards, tmp_path / "data"), tmp_path / "weights"
    told = []
    for name in NETWORKS[:4]:
        path = train_network(name, data, folder, steps=2, on_progress=lambda *row: told.append(row))
        assert path == folder / f"{name}.safetensors"
        assert path.is_file()
    assert [row[:2] for row in told] == [(2, 2)] * 3
    assert {"audio.log", "lips.log", "motion.log"} < {entry.name for entry in folder.iterdir()}

    pipeline = Pipeline.from_pretrained(folder, "cpu")
    assert pipeline.method.generator.lips is not None
    t = np.arange(24_000) / 16_000
    speech = Speech.from_samples((0.3 * np.sin(900 * t)).astype(np.float32), 16_000)
    motion = Motion.concatenate(list(pipeline.animate(plain_portrait(pipeline.method.space), speech).motion()))
    assert len(motion) == 38
    assert np.isfinite(motion.expression).all()


@pytest.mark.usefixtures("small")
def test_clips_that_travel_train_without_the_shards(shards, tmp_path):
    folder = tmp_path / "weights"
    train_network("facemesh", store(shards, tmp_path / "data"), folder)
    clips = folder / "clips.safetensors"
    assert train_network("audio", clips, folder, steps=1).is_file()
    clips.write_bytes(clips.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"clips\.safetensors"):
        train_network("audio", clips, folder, steps=1)


@pytest.mark.usefixtures("small")
def test_same_seed_same_weights(shards, tmp_path):
    data = store(shards, tmp_path / "data")
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
        written.append(load_file(train_network("audio", data, folder, steps=1)))
    assert written[0].keys() == written[1].keys()
    assert all(np.array_equal(value, written[1][name]) for name, value in written[0].items())


def test_unknown_network(tmp_path):
    with pytest.raises(OptionError, match="facemesh, audio, lips, motion, syncnet"):
        train_network("mouth", tmp_path, tmp_path)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps(tmp_path, steps):
    with pytest.raises(OptionError, match="steps"):
        train_network("audio", tmp_path, tmp_path, steps=steps)


def test_weights_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="taken"):
        train_network("facemesh", tmp_path, tmp_path / "taken")


def test_no_shards(tmp_path):
    with pytest.raises(DatasetError, match="kptalk prepare"):
        train_network("facemesh", tmp_path, tmp_path / "weights")


@pytest.mark.parametrize("name", ["audio", "lips", "motion"])
def test_networks_before_must_be_there(shards, tmp_path, name):
    with pytest.raises(WeightsError, match="facemesh"):
        train_network(name, store(shards, tmp_path / "data"), tmp_path / "weights")


def test_motion_needs_the_audio_encoder(shards, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    with pytest.raises(WeightsError, match="audio"):
        train_network("motion", store(shards, tmp_path / "data"), folder)


def test_one_person_is_too_few(shards, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    with pytest.raises(DatasetError, match="two people"):
        train_network("audio", store(shards[:1], tmp_path / "data"), folder)
