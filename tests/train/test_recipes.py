"""``kptalk train`` from shards to weights that draw."""

import subprocess
import sys

import numpy as np
import pytest
from fakes import plain_portrait
from safetensors.numpy import load_file

from kptalk.errors import DatasetError, OptionError, OutputError, WeightsError
from kptalk.media.audio import Speech
from kptalk.pipeline import Pipeline
from kptalk.train import NAMES
from kptalk.train.recipes import RECIPES, train_network
from kptalk.types import Motion
from kptalk.weights.header import embedded_path


def space_only(folder):
    folder.mkdir()
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    return folder


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("kptalk.train.audio.BATCH", 1)
    monkeypatch.setattr("kptalk.train.lips.BATCH", 2)
    monkeypatch.setattr("kptalk.train.motion.BATCH", 2)
    monkeypatch.setattr("kptalk.train.sync.BATCH", 2)
    monkeypatch.setattr("kptalk.train.motion.VERSIONS", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_networks_one_after_the_other_talk(stored, tmp_path):
    folder = tmp_path / "weights"
    progress = []
    for name in NAMES[:4]:
        path = train_network(name, stored, folder, steps=2, on_progress=lambda *row: progress.append(row))
        assert path == folder / f"{name}.safetensors"
        assert path.is_file()
    assert [row[:2] for row in progress] == [(2, 2)] * 3
    assert {"audio.log", "lips.log", "motion.log"} < {entry.name for entry in folder.iterdir()}

    pipeline = Pipeline.from_pretrained(folder, "cpu")
    assert pipeline.method.generator.lips is not None
    t = np.arange(24_000) / 16_000
    speech = Speech.from_samples((0.3 * np.sin(900 * t)).astype(np.float32), 16_000)
    motion = Motion.concatenate(list(pipeline.animate(plain_portrait(pipeline.method.space), speech).motion()))
    assert len(motion) == 38
    assert np.isfinite(motion.expression).all()


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_clips_that_travel_train_without_the_shards(stored, tmp_path):
    folder = tmp_path / "weights"
    train_network("facemesh", stored, folder)
    clips = folder / "clips.safetensors"
    assert train_network("audio", clips, folder, steps=1).is_file()
    clips.write_bytes(clips.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"clips\.safetensors"):
        train_network("audio", clips, folder, steps=1)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_same_seed_same_weights(stored, tmp_path):
    written = []
    for name in ("a", "b"):
        folder = space_only(tmp_path / name)
        written.append(load_file(train_network("audio", stored, folder, steps=1)))
    assert written[0].keys() == written[1].keys()
    assert all(np.array_equal(value, written[1][name]) for name, value in written[0].items())


def test_the_table_is_what_the_program_lists(kptalk, tmp_path):
    assert tuple(RECIPES) == NAMES
    with pytest.raises(OptionError, match="facemesh, audio, lips, motion, a2l, head, syncnet"):
        train_network("mouth", tmp_path, tmp_path)
    status, _, err = kptalk("train", "mouth", "--data", tmp_path, "-o", tmp_path / "model")
    assert status == 2
    assert err.count("\n") == 1
    assert all(name in err for name in NAMES)
    status, out, _ = kptalk("train", "--help")
    assert status == 0
    assert all(name in out for name in NAMES)


def test_every_recipe_comes_after_those_that_it_needs():
    for index, recipe in enumerate(RECIPES.values()):
        assert set(recipe.needs) <= set(NAMES[:index])


@pytest.mark.slow
def test_packed_clips_need_neither_media_nor_face_libraries(stored, tmp_path):
    """A machine with a GPU has torch, numpy, scipy and safetensors only."""
    train_network("facemesh", stored, tmp_path / "model")
    code = """
import sys
from pathlib import Path
for name in ("av", "cv2", "diffusers", "huggingface_hub", "PIL", "rich", "typer"):
    sys.modules[name] = None
from kptalk.train import audio
from kptalk.train.recipes import train_network
audio.BATCH = 1
train_network("audio", Path(sys.argv[1], "clips.safetensors"), Path(sys.argv[1]), steps=1)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "model"], check=True)


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
def test_networks_before_must_be_there(stored, tmp_path, name):
    with pytest.raises(WeightsError, match=f"{name} needs facemesh.safetensors"):
        train_network(name, stored, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("name", ["lips", "motion"])
def test_the_audio_encoder_must_be_there(stored, tmp_path, name):
    with pytest.raises(WeightsError, match=f"{name} needs audio.safetensors"):
        train_network(name, stored, space_only(tmp_path / "weights"))


@pytest.mark.parametrize("name", ["audio", "syncnet"])
def test_one_person_is_too_few(stored, tmp_path, name):
    for file in sorted(stored.iterdir())[1:]:
        file.unlink()
    with pytest.raises(DatasetError, match="two people"):
        train_network(name, stored, space_only(tmp_path / "weights"))
