"""Configs: by name, from TOML, changed by field, each documented."""

from dataclasses import replace

import pytest

from kptalk.errors import OptionError
from kptalk.train.config import config_fields, config_text, field_docs, read_config
from kptalk.train.loop import LoopConfig
from kptalk.train.motion import CONFIGS
from kptalk.train.recipes import RECIPES

ALL = [(recipe.name, name, config) for recipe in RECIPES.values() for name, config in recipe.configs.items()]


def test_the_paper_is_the_paper():
    paper = CONFIGS["paper"]
    assert (paper.loop.betas, paper.loop.weight_decay) == ((0.95, 0.999), 1e-6)
    assert (paper.loop.learning_rate, paper.loop.batch, paper.network.window) == (5.12e-4, 256, 64)
    assert (paper.network.prediction, paper.weighted_tokens, paper.weighted_steps) == ("epsilon", False, False)


def test_a_field_is_changed_by_its_name():
    config = read_config("embedded", CONFIGS, ["steps=7", "network.dim=64", "betas=[0.5, 0.9]", "precision=float32"])
    assert (config.loop.steps, config.network.dim, config.loop.betas) == (7, 64, (0.5, 0.9))
    assert config.loop.precision == "float32"
    assert replace(config, loop=CONFIGS["embedded"].loop, network=CONFIGS["embedded"].network) == CONFIGS["embedded"]


def test_a_file_changes_its_base(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "smoke"\nversions = 3\n[loop]\nlearning_rate = 1\n[network]\ndepth = 2\n')
    config = read_config(str(path), CONFIGS, ["depth=3"])
    assert config.network == replace(CONFIGS["smoke"].network, depth=3)
    assert (config.versions, config.loop.learning_rate) == (3, 1.0)


@pytest.mark.parametrize(("recipe", "name", "config"), ALL, ids=[f"{recipe}-{name}" for recipe, name, _ in ALL])
def test_a_written_config_is_read_back(tmp_path, recipe, name, config):
    path = tmp_path / "written.toml"
    path.write_text(f'base = "{name}"\n{config_text(config)}')
    assert read_config(str(path), RECIPES[recipe].configs) == config


@pytest.mark.parametrize(("recipe", "name", "config"), ALL, ids=[f"{recipe}-{name}" for recipe, name, _ in ALL])
def test_every_field_is_documented(recipe, name, config):
    parts = {"": type(config)} | {
        key: type(getattr(config, key)) for key, _ in [n.split(".", 1) for n, _ in config_fields(config) if "." in n]
    }
    for full, _ in config_fields(config):
        part, _, field = full.rpartition(".")
        assert field_docs(parts[part]).get(field), f"{parts[part].__name__} does not document {field}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("dim", "FIELD=VALUE"),
        ("width=3", "no single field"),
        ("loop.steps=2.5", "whole number"),
        ("loop.steps=many", "whole number"),
        ("batch=0", "batch is 0"),
        ("learning_rate=-1", "learning_rate is -1"),
        ("learning_rate=nan", "learning_rate is nan"),
        ("precision=half", "bfloat16 or float32"),
        ("betas=[0.9, 2.0]", "betas"),
        ("prediction=x", "epsilon"),
        ("canonical=1", "true or false"),
    ],
)
def test_what_cannot_be_set(change, said):
    with pytest.raises(OptionError, match=said):
        read_config("smoke", CONFIGS, [change])


@pytest.mark.parametrize("content", [None, "steps = [", 'base = "huge"'])
def test_files_that_are_none(tmp_path, content):
    path = tmp_path / "mine.toml"
    if content:
        path.write_text(content)
    with pytest.raises(OptionError, match=r"mine\.toml|huge"):
        read_config(str(path), CONFIGS)


def test_docs_come_from_the_classes():
    assert field_docs(LoopConfig)["ema"].startswith("decay of the moving average")
