"""``kptalk train`` from a dataset to weights that draw."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from commands import refused
from datasets_made import written
from fakes import landmark_space, plain_portrait
from safetensors.numpy import load_file

from kptalk.cli.process import Stopped
from kptalk.errors import DatasetError, OptionError, OutputError, WeightsError
from kptalk.files import claimed
from kptalk.media.audio import Speech
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser
from kptalk.pipeline import Pipeline
from kptalk.train import CONFIGS as CONFIG_NAMES
from kptalk.train import NAMES, a2l
from kptalk.train.a2l import CONFIGS, area_importance
from kptalk.train.data import Inputs
from kptalk.train.motion import MotionData
from kptalk.train.recipes import RECIPES, train_network
from kptalk.types import Motion
from kptalk.weights.header import embedded_path
from kptalk.weights.store import save_model


def space_only(folder):
    folder.mkdir()
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    return folder


@pytest.fixture
def small(monkeypatch):
    for name in ("audio", "lips", "motion"):
        recipe = RECIPES[name]
        config = recipe.configs["embedded"]
        config = replace(config, loop=replace(config.loop, batch=2), **{"versions": 2} if name == "motion" else {})
        monkeypatch.setitem(RECIPES, name, replace(recipe, configs={**recipe.configs, "embedded": config}))


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

    train_network("a2l", stored, folder, config="smoke", steps=2)  # now the folder is a model of the method landmark
    train_network("lips", stored, folder, steps=1)  # and stays one
    pipeline = Pipeline.from_pretrained(folder, "cpu")
    assert pipeline.method_name == "landmark"
    assert pipeline.method.generator.denoiser.config == CONFIGS["smoke"].network
    animation = pipeline.animate(plain_portrait(pipeline.method.space), speech)
    assert Motion.concatenate(list(animation.motion())).expression.shape == (38, 478, 3)


def test_two_trainings_of_one_network_in_one_folder(stored, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    with (
        claimed(folder / "facemesh.safetensors"),
        pytest.raises(OutputError, match=r"another run is writing .*facemesh"),
    ):
        train_network("facemesh", stored, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("kept", "words"), [(True, "the same command resumes"), (False, "nothing was written")])
def test_who_stops_it_is_told_whether_it_can_be_resumed(kptalk, tmp_path, monkeypatch, kept, words):
    def stop(*_, **__):
        if kept:
            (tmp_path / "motion.log").mkdir()
            (tmp_path / "motion.log/state.pt").touch()
        raise Stopped

    monkeypatch.setattr("kptalk.train.recipes.train_network", stop)
    status, _, err = kptalk("train", "motion", "--data", tmp_path, "-o", tmp_path)
    assert status == 130
    assert err.startswith(f"kptalk: stopped: {words}")


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_clips_that_travel_train_without_the_dataset(stored, tmp_path):
    folder = tmp_path / "weights"
    train_network("facemesh", stored, folder)
    clips = folder / "clips.safetensors"
    assert train_network("audio", clips, folder, steps=1).is_file()
    with pytest.raises(DatasetError, match=r"clips\.safetensors holds packed clips without landmarks"):
        train_network("a2l", clips, folder, steps=1)
    clips.write_bytes(clips.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"clips\.safetensors"):
        train_network("audio", clips, folder, steps=1)


@pytest.mark.slow
def test_a_denoiser_that_was_stopped_ends_as_an_uninterrupted_one(stored, space_folder):
    (space_folder / "audio.safetensors").write_bytes(embedded_path("audio").read_bytes())
    how = {"config": "smoke", "device": "cpu", "changes": ["steps=6", "score_every=2", "score_steps=1", "batch=4"]}

    class Stopped(Exception):
        pass

    def stop(done, total, row):
        if done == 4:
            raise Stopped
        assert {"lip_r", "lip_lag", "head_spread", "head_speed"} < set(row)

    with pytest.raises(Stopped):
        train_network("motion", stored, space_folder, **how, on_progress=stop)
    files = ("motion.safetensors", "motion.log/last.safetensors")
    train_network("motion", stored, space_folder, **how)
    resumed = [load_file(space_folder / name) for name in files]
    shutil.rmtree(space_folder / "motion.log")
    train_network("motion", stored, space_folder, **how)
    for before, name in zip(resumed, files, strict=True):
        after = load_file(space_folder / name)
        assert before.keys() == after.keys()
        assert all(np.array_equal(value, after[key]) for key, value in before.items())
    assert "rotary_dim = 8" in (space_folder / "motion.log/config.toml").read_text()


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
    with pytest.raises(OptionError, match="facemesh, audio, lips, motion, a2l, head, vae, l2v, syncnet"):
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
from kptalk.train.recipes import train_network
clips, folder = Path(sys.argv[1], "clips.safetensors"), Path(sys.argv[1])
train_network("audio", clips, folder, steps=1, changes=["batch=1"])
train_network("motion", clips, folder, steps=1, config="smoke")
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "model"], check=True)


@pytest.mark.parametrize("name", ["a2l", "audio"])
def test_a_config_that_a_recipe_has_not(kptalk, tmp_path, name):
    with pytest.raises(OptionError, match="no config 'huge': give smoke, embedded, paper, or a file"):
        train_network(name, tmp_path, tmp_path, config="huge")
    assert refused(kptalk("train", name, "--data", tmp_path, "-o", tmp_path / "new", "--config", "huge"), "huge")
    assert set(CONFIGS) < set(CONFIG_NAMES)


def test_landmarks_go_on_from_the_denoiser_of_keypoints_of_their_size(tmp_path, monkeypatch):
    def found(inputs, kind):
        return MotionData(landmark_space(), [], [], np.zeros(80, np.float32), inputs.config, AudioEncoder(), 0, None)

    monkeypatch.setattr("kptalk.train.motion.data", found)
    trained = Denoiser(CONFIGS["smoke"].network)
    save_model(tmp_path / "motion.safetensors", trained, trained.config)

    def built(size):
        return a2l.build(a2l.data(Inputs(tmp_path, tmp_path, 0, "cpu", CONFIGS[size]))).state_dict()

    assert all(value.equal(trained.state_dict()[name]) for name, value in built("smoke").items())
    assert built("embedded").keys() != trained.state_dict().keys()
    (tmp_path / "motion.safetensors").unlink()
    assert not built("smoke")["input_projection.weight"].equal(trained.state_dict()["input_projection.weight"])


def test_lips_count_most_in_landmarks():
    space = landmark_space()
    importance = area_importance(space)
    assert importance.sum() == pytest.approx(1, abs=1e-5)
    assert (importance > 0).all()
    mouth = space.mouth_tokens(np.eye(63, dtype=np.float32))
    share = np.linalg.norm(mouth, axis=1)  # how much of a token is the mouth's
    assert np.average(share, weights=importance) > np.average(share, weights=space.token_importance())


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps(tmp_path, steps):
    with pytest.raises(OptionError, match="steps"):
        train_network("audio", tmp_path, tmp_path, steps=steps)


def test_weights_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="taken"):
        train_network("facemesh", tmp_path, tmp_path / "taken")


def test_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="kptalk prepare"):
        train_network("facemesh", tmp_path, tmp_path / "weights")


@pytest.mark.parametrize("name", ["audio", "lips", "motion", "a2l"])
def test_networks_before_must_be_there(stored, tmp_path, name):
    with pytest.raises(WeightsError, match=f"{name} needs facemesh.safetensors"):
        train_network(name, stored, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("name", ["lips", "motion", "a2l"])
def test_the_audio_encoder_must_be_there(stored, tmp_path, name):
    with pytest.raises(WeightsError, match=f"{name} needs audio.safetensors"):
        train_network(name, stored, space_only(tmp_path / "weights"))


@pytest.mark.parametrize("name", ["audio", "syncnet"])
def test_one_person_is_too_few(tracked, tmp_path, name):
    one = written(tracked[:1], tmp_path / "one")
    with pytest.raises(DatasetError, match="two people"):
        train_network(name, one, space_only(tmp_path / "weights"))
