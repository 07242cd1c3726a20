"""A model is a folder that knows what it is; ``kptalk models`` lists them."""

import json
import shutil

import pytest
import torch
from commands import refused
from official_set import stitching_file, unpin

from kptalk.errors import WeightsError
from kptalk.methods import METHODS, loaders_of
from kptalk.weights import official
from kptalk.weights.header import embedded_folder
from kptalk.weights.model import (
    MODEL_JSON,
    NAMES,
    facemesh_card,
    landmark_card,
    open_model,
    speech_mel_mean,
    write_model_json,
)
from kptalk.weights.store import save_tensors


@pytest.fixture
def folder(tmp_path):
    """A copy of the embedded model."""
    made = tmp_path / "mine"
    shutil.copytree(embedded_folder(), made)
    return made


def test_the_embedded_model_is_complete():
    model = open_model("embedded")
    assert (model.name, model.method, model.missing()) == ("embedded", "facemesh", [])
    assert model.card.licence
    assert (model.path / model.card.card).is_file()
    assert 10e6 < model.size() < 75e6


def test_the_landmark_model_shares_files_with_the_embedded_one():
    model, other = open_model("landmark"), open_model("embedded")
    assert (model.name, model.method, model.missing()) == ("landmark", "landmark", [])
    assert (model.path / model.card.card).is_file()
    assert model.card.files.keys() == landmark_card().with_head().files.keys() - {"vae"}  # it draws pixels
    assert set(model.card.optional) == set(landmark_card().optional) - {"vae"}
    for name in ("facemesh", "audio", "lips"):
        assert model.file(name).samefile(other.file(name))
    assert model.size() - other.size() < 30e6


def test_a_folder_is_a_model(folder):
    model = open_model(folder)
    assert (model.name, model.method) == ("mine", "facemesh")
    assert model.file("motion") == folder / "motion.safetensors"
    (folder / "lips.safetensors").unlink()
    assert model.optional_file("lips") is None
    assert model.missing() == []  # the lip ensemble need not be there
    (folder / "motion.safetensors").unlink()
    assert model.missing() == ["motion"]
    with pytest.raises(WeightsError, match=r"missing weights: .*motion\.safetensors"):
        model.file("motion")
    with pytest.raises(WeightsError, match=r"missing mine weights: motion$"):
        model.require_all()


def test_what_was_written_is_read(tmp_path):
    write_model_json(tmp_path, facemesh_card("mine alone"))
    assert open_model(tmp_path).card == facemesh_card("mine alone")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"method": 3}',
        '{"method": "facemesh", "files": {"motion": 3}}',
        '{"method": [], "files": {}}',
        "[" * 9999,
    ],
)
def test_a_damaged_description_is_refused(folder, content):
    (folder / MODEL_JSON).write_text(content)
    with pytest.raises(WeightsError, match=r"model\.json") as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)


def test_no_model(tmp_path):
    with pytest.raises(WeightsError, match="give embedded, landmark, official or a model folder"):
        open_model(tmp_path)


def test_a_method_of_another_version_is_named(folder):
    content = json.loads((folder / MODEL_JSON).read_text())
    (folder / MODEL_JSON).write_text(json.dumps(content | {"method": "dance"}))
    with pytest.raises(WeightsError, match="'dance'.*" + ", ".join(METHODS)):
        loaders_of(open_model(folder))


@pytest.mark.parametrize("other", [{"fps": 30}, {"window": 32}])
def test_a_model_of_another_rate_or_window_is_refused(folder, other):
    content = json.loads((folder / MODEL_JSON).read_text())
    (folder / MODEL_JSON).write_text(json.dumps(content | other))
    with pytest.raises(WeightsError, match="25 fps and windows of 64"):
        loaders_of(open_model(folder))


def test_the_folder_of_converted_weights_is_a_model(parity, home, tmp_path, monkeypatch):
    unpin(monkeypatch)
    stitching_file(tmp_path, parity)
    assert all(outcome.ok for outcome in official.convert(tmp_path))
    model = open_model(home)
    assert (model.method, model.official, model.card) == ("kdtalker", True, open_model("official").card)
    assert "stitching" not in model.missing()
    assert "decoder" in model.missing()


def test_official_weights_that_are_not_here_are_named(home):
    with pytest.raises(WeightsError, match=r"missing official weights: .*kdtalker"):
        open_model("official").require_all()


def test_models_are_listed(kptalk, home):
    status, out, err = kptalk("models")
    assert (status, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert {"model", *NAMES} <= set(rows)
    assert "yes" in rows["embedded"]
    assert "yes" in rows["landmark"]
    assert "no" in rows["official"]


def test_files_of_a_model_are_listed(kptalk, home, folder):
    status, out, _ = kptalk("models", folder)
    assert status == 0
    assert all(name in out for name in ("motion", "facemesh", "audio", "lips", str(folder)))
    status, out, _ = kptalk("models", "official")
    assert status == 0
    assert all(word in out for word in ("kdtalker", "warping", "syncnet", "commercial", "CC BY-NC"))
    assert refused(kptalk("models", folder / "absent"), "model.json", code=1)


@pytest.mark.parametrize(
    "level", ["[1, 2]", "[" + "NaN, " * 79 + "0]", "null", "{}", "[" * 9999, "[" + "1e9, " * 79 + "0]"]
)
def test_a_mean_level_that_makes_no_sense_is_refused(tmp_path, level):
    save_tensors(tmp_path / "audio.safetensors", {"a": torch.zeros(1)}, {"speech_mel_mean": level})
    with pytest.raises(WeightsError, match="mean mel level of speech"):
        speech_mel_mean(tmp_path / "audio.safetensors")
