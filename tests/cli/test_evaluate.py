"""``kptalk evaluate`` and ``kptalk study`` from the command line."""

import csv
import json
from fractions import Fraction

import numpy as np
import pytest
from commands import refused
from fakes import facemesh_space, fake_pipeline
from media_shared import CLIPS
from recordings import tone, write_clip

from kptalk.cli.process import Stopped
from kptalk.motion.generator import WindowGrid
from kptalk.pipeline import Pipeline

RATE = 16_000


def film(path, level, frames=15):
    path.parent.mkdir(exist_ok=True)
    pictures = np.full((frames, 64, 64, 3), level, np.uint8)
    return write_clip(path, pictures, Fraction(25), tone(RATE, frames / 25), RATE)


@pytest.fixture
def folders(tmp_path):
    """Two real clips; two methods, one of which lacks a clip."""
    for number, name in enumerate(("a.mp4", "b [1].mp4")):
        film(tmp_path / "truth" / name, 100 + number)
        film(tmp_path / "one" / name, 110)
    film(tmp_path / "two" / "a.mp4", 130)
    return tmp_path / "truth", tmp_path / "one", tmp_path / "two"


@pytest.mark.slow
def test_two_methods_beside_real_video(kptalk, folders, tmp_path):
    truth, one, two = folders
    out = tmp_path / "report"
    status, said, err = kptalk("evaluate", "--real", truth, "--generated", one, "--generated", two, "-o", out)
    assert (status, err) == (0, "")
    assert said.index("real") < said.index("one") < said.index("two")
    assert "kptalk weights pull syncnet" in said
    assert "frames without a face: real 30 of 30" in said
    assert sorted(path.name for path in out.iterdir()) == ["clips.csv", "report.csv", "report.html", "report.json"]
    rows = list(csv.DictReader((out / "report.csv").open()))
    assert [(row["method"], row["clip"]) for row in rows][:2] == [("real", "a.mp4"), ("real", "b [1].mp4")]
    psnr = {(row["method"], row["clip"]): row["psnr"] for row in rows}
    assert float(psnr["one", "a.mp4"]) > float(psnr["two", "a.mp4"]) > 10
    assert psnr["two", "b [1].mp4"] == ""
    written = json.loads((out / "report.json").read_text())
    assert written["command"].startswith("kptalk evaluate --real")


@pytest.mark.slow
def test_the_same_clips_again_or_an_error(kptalk, folders, tmp_path):
    truth, one, _ = folders
    first, second = tmp_path / "first", tmp_path / "second"
    command = ("evaluate", "--real", truth, "--generated", one, "--quiet")
    assert kptalk(*command, "-o", first) == (0, "", "")
    film(truth / "c.mp4", 50)  # not on the list: not compared
    assert kptalk(*command, "-o", second, "--clip-list", first / "clips.csv") == (0, "", "")
    assert (first / "clips.csv").read_text() == (second / "clips.csv").read_text()
    status, _, err = kptalk(*command, "-o", tmp_path / "cut", "--clip-list", first / "clips.csv", "--seconds", "0.2")
    assert status == 0
    assert "compared up to another frame" in err
    film(truth / "a.mp4", 101)
    assert refused(kptalk(*command, "-o", tmp_path / "no", "--clip-list", first / "clips.csv"), "a.mp4", "sha256")


@pytest.mark.slow
def test_a_report_is_not_overwritten_unasked(kptalk, folders, tmp_path):
    truth, one, _ = folders
    out = tmp_path / "report"
    command = ("evaluate", "--real", truth, "--generated", one, "--quiet", "-o", out)
    assert kptalk(*command)[0] == 0
    (out / "mine.txt").write_text("kept")
    assert refused(kptalk(*command), "report", "already")
    assert refused(kptalk(*command, "--overwrite", "--generated", one), "named")
    assert (out / "report.html").is_file()  # the old one, as long as there is no new one
    assert kptalk(*command, "--overwrite") == (0, "", "")
    assert (out / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ((), "--real"),
        (("--real", "truth"), "--generated"),
        (("--generated", "one"), "--real"),
        (("--model", "embedded"), "--clips"),
        (("--clips", "truth", "--real", "truth"), "neither"),
        (("--clips", "truth", "--method", "keypoint"), "--method"),
        (("--real", "absent", "--generated", "one"), "absent"),
        (("--real", "truth", "--generated", "absent"), "absent"),
        (("--real", "truth", "--generated", "one", "--generated", "one"), "named"),
        (("--real", "truth", "--generated", "one", "--seconds", "-1"), "seconds"),
        (("--real", "truth", "--generated", "one", "--seconds", "nan"), "seconds"),
        (("--real", "truth", "--generated", "one", "--window", "1"), "window"),
        (("--real", "truth", "--generated", "one", "--clip-list", "absent.csv"), "absent.csv"),
    ],
)
def test_what_makes_no_sense_is_one_line(kptalk, folders, tmp_path, monkeypatch, flags, word):
    monkeypatch.chdir(tmp_path)
    assert refused(kptalk("evaluate", *flags, "-o", "out"), word)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("joins", [WindowGrid(58, 44), WindowGrid(5, 3)])
def test_seams_are_looked_for_where_the_generator_joins_its_windows(kptalk, folders, tmp_path, monkeypatch, joins):
    truth, _, _ = folders
    pipeline = fake_pipeline(facemesh_space())
    monkeypatch.setattr(pipeline.method.generator, "grid", joins)
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *_: pipeline)
    assert kptalk("evaluate", "--clips", truth, "-o", tmp_path / "report", "--quiet") == (0, "", "")
    (seams,) = (c for c in json.loads((tmp_path / "report/report.json").read_text())["columns"] if c["key"] == "seams")
    assert f"join at frame {joins.first} and every {joins.stride} frames" in seams["about"]


def test_an_interrupted_evaluation_goes_on(kptalk, tmp_path, monkeypatch):
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "grid_flbbc_1.mp4").write_bytes((CLIPS / "grid_flbbc_1.mp4").read_bytes())
    pipeline = fake_pipeline(facemesh_space())
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *_: pipeline)
    command = ("evaluate", "--clips", clips, "-o", tmp_path / "report", "--seconds", "0.4", "--quiet")

    def stop(*_, **__):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr("kptalk.evaluate.run.evaluate", stop)
        status, _, err = kptalk(*command)
    assert (status, err) == (130, f"kptalk: stopped: the same command goes on, {tmp_path / 'report'} is not finished\n")
    (video,) = (tmp_path / "report/generated").glob("*.mp4")
    made = video.stat().st_mtime_ns
    assert refused(kptalk(*command, "--seed", "9"), "holds a report already")
    assert kptalk(*command)[0] == 0
    assert video.stat().st_mtime_ns == made
    assert refused(kptalk(*command), "holds a report already")
    assert kptalk(*command, "--overwrite")[0] == 0
    assert video.stat().st_mtime_ns != made


@pytest.mark.slow
@pytest.mark.parametrize("model", ["embedded", "landmark"])
def test_generate_and_evaluate_in_one_go(kptalk, tmp_path, model):
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "grid_flbbc_1.mp4").write_bytes((CLIPS / "grid_flbbc_1.mp4").read_bytes())
    out = tmp_path / "report"
    command = ("evaluate", "--clips", clips, "-o", out, "--seconds", "2", "--seed", "3", "--model", model)
    status, said, err = kptalk(*command)
    assert (status, err) == (0, "")
    assert model in said
    assert (out / "generated" / "grid_flbbc_1.mp4").is_file()
    rows = {row["method"]: row for row in csv.DictReader((out / "report.csv").open())}
    assert float(rows[model]["fps"]) > 1
    assert rows["real"]["fps"] == ""
    assert rows[model]["frames"] == "50"
    assert float(rows[model]["lip_r"]) < float(rows["real"]["lip_r"]) == 1
    written = json.loads((out / "report.json").read_text())
    assert written["seed"] == 3


@pytest.mark.slow
def test_what_was_generated_is_an_input_like_any_other(kptalk, folders, tmp_path):
    truth, one, _ = folders
    out = tmp_path / "report"
    out.mkdir()
    one.rename(out / "generated")
    status, _, err = kptalk("evaluate", "--real", truth, "--generated", out / "generated", "-o", out, "--overwrite")
    assert (status, err) == (0, "")
    assert len(list((out / "generated").iterdir())) == 2
    command = ("evaluate", "--clips", out / "generated", "-o", out, "--overwrite")
    assert refused(kptalk(*command), "replace the real ones")
    assert len(list((out / "generated").iterdir())) == 2


def test_a_study_is_built_and_refuses_what_is_no_vote(kptalk, folders, tmp_path):
    _, one, two = folders
    status, said, err = kptalk("study", "build", one, two, "-o", tmp_path / "study", "--seed", "4")
    assert status == 0
    assert "1 clips, 2 methods" in said
    assert "study.key.json" in said
    assert "b [1].mp4" in err  # left out, since one method lacks it
    assert (tmp_path / "study" / "index.html").is_file()
    (tmp_path / "vote.json").write_text("{}")
    assert refused(kptalk("study", "tally", tmp_path / "study.key.json", tmp_path / "vote.json"), "vote.json")
    assert refused(kptalk("study", "build", one, "-o", tmp_path / "again"), "2 to 9")
