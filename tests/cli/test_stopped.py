"""Who stops a long run is told what there is of it."""

import pytest
from media_shared import CLIPS

from kptalk.cli.process import Stopped


def stop(*_, **__):
    raise Stopped


@pytest.fixture
def stopped(kptalk, monkeypatch):
    """Runs a command that is stopped when it gets to a function; what it says."""

    def run(function, *argv, after=stop):
        monkeypatch.setattr(function, after)
        status, _, err = kptalk(*argv)
        assert status == 130
        return err.splitlines()[-1]

    return run


def test_ablations(stopped, tmp_path):
    said = stopped("kptalk.train.ablate.ablate", "ablate", "--data", tmp_path, "-o", tmp_path / "tables")
    assert said == f"kptalk: stopped: the same command goes on, {tmp_path / 'tables'} is not finished"


@pytest.mark.parametrize("argv", [["pull", "--accept-licence"], ["convert", "files"]])
def test_weights(stopped, tmp_path, monkeypatch, argv):
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path))
    said = stopped(f"kptalk.weights.official.{argv[0]}", "weights", *argv)
    assert said == "kptalk: stopped: the same command goes on"


@pytest.mark.parametrize("begun", [True, False])
def test_an_evaluation(stopped, tmp_path, begun):
    def stop_later(_, __, folder, **___):
        if begun:
            folder.mkdir()
        raise Stopped

    argv = ["evaluate", "--clips", CLIPS, "-o", tmp_path / "report"]
    said = stopped("kptalk.evaluate.generate.generate_videos", *argv, after=stop_later)
    kept = f"the same command goes on, {tmp_path / 'report'} is not finished"
    assert said == f"kptalk: stopped: {kept if begun else 'nothing was written'}"
