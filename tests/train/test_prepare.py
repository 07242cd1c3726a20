"""``kptalk prepare`` as a whole: datasets, what goes on after an interruption, the report, the same work on Ray."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from media_shared import CLIPS
from videos import talking, write_video

from kptalk.engine import Outcome
from kptalk.errors import DatasetError, OptionError, OutputError, WeightsError
from kptalk.files import open_partial
from kptalk.train.dataset import Dataset
from kptalk.train.prepare import run
from kptalk.train.prepare.options import PrepareOptions
from kptalk.train.prepare.run import STAGING, prepare_videos
from kptalk.train.prepare.sources import find_sources
from kptalk.train.prepare.work import Preparer, read_prepared, staging_folder

NAMES = ("grid_flbbc_1", "grid_mlbax_1", "grid_s4_1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What workers have made, by options and source: the same for all tests."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def here(monkeypatch, made):
    """Rows are mapped in this process, each once: the engine has tests of its own."""

    def map_rows(build, rows, **_):
        folder, options = build.args
        kept = made / sha256(repr(options).encode()).hexdigest()[:8]
        for number, row in enumerate(rows):
            kept_row = staging_folder(kept, row.name)
            if not kept_row.exists():
                Preparer(kept, options)(row)
            shutil.copytree(kept_row, staging_folder(folder, row.name), dirs_exist_ok=True)
            yield Outcome(number, row, read_prepared(kept_row))

    monkeypatch.setattr(run, "map_rows", map_rows)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three people for three seconds, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    for name in NAMES:
        shutil.copy(CLIPS / f"{name}.mp4", folder)
    (folder / "text.mp4").write_text("no video")
    return folder


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("here")
def test_videos_become_a_dataset_and_bad_ones_are_named(videos, tmp_path):
    (tmp_path / "people.csv").write_text("file,identity\nsome/folder/grid_flbbc_1.mp4,Alexandria\n")
    steps = list(prepare_videos([videos], tmp_path / "set", tmp_path / "people.csv"))
    assert [(step.done, step.total, step.clips) for step in steps] == [(1, 4, 1), (2, 4, 1), (3, 4, 1), (4, 4, 0)]
    ((name, reason),) = steps[3].left_out
    assert name == "text"
    assert "text.mp4" in reason
    dataset = Dataset.open(tmp_path / "set")
    assert [entry.identity for entry in dataset.clips] == ["Alexandria", "grid_mlbax_1", "grid_s4_1"]
    assert dataset.card["space"] == "facemesh"
    for entry, clip in zip(dataset.clips, dataset, strict=True):
        assert clip.landmarks.dtype == clip.sound.dtype == np.float32
        assert len(clip.landmarks) == len(clip.motion) == entry.frames
        assert len(clip.sound) / 16_000 == pytest.approx(entry.frames / 25, abs=0.2)
        assert clip.video.samefile(videos / clip.video.name)
        assert entry.quality.sync_correlation > 0.25
    assert {*files(tmp_path / "set")} == {"dataset.json", "index.safetensors", "shard-00000.safetensors", "report.html"}


@pytest.mark.usefixtures("here")
def test_interrupted_anywhere_it_ends_with_the_same_bytes(videos, tmp_path):
    """Also where shards are so small that a run is interrupted between two of them, and within a source."""
    options = {"shard_bytes": 700_000}
    whole = tmp_path / "whole" / "set"
    list(prepare_videos([videos], whole, **options))
    expected = files(whole)
    assert len(list(whole.glob("shard-*"))) == 3
    for steps in range(1, 5):
        folder = tmp_path / str(steps) / "set"
        for _ in range(3):
            interrupted = prepare_videos([videos], folder, **options)
            for _ in zip(range(steps), interrupted, strict=False):
                pass
            interrupted.close()
            (folder / ".saving-killed").mkdir(exist_ok=True)
        list(prepare_videos([videos], folder, **options))
        assert files(folder) == expected


@pytest.mark.usefixtures("here")
def test_more_videos_are_added_and_what_is_there_is_kept(videos, tmp_path, monkeypatch):
    folder = tmp_path / "set"
    list(prepare_videos([videos / f"{NAMES[0]}.mp4"], folder))
    before = files(folder)["shard-00000.safetensors"]
    steps = list(prepare_videos([videos], folder))
    assert [step.clips for step in steps] == [1, 1, 1, 0]
    assert files(folder)["shard-00000.safetensors"] == before
    assert [entry.name for entry in Dataset.open(folder).clips] == [f"{name}.0.0" for name in NAMES]
    monkeypatch.setattr(run, "map_rows", lambda build, rows, **_: iter([pytest.fail("again") for _ in rows]))
    assert [step.clips for step in prepare_videos([videos], folder)] == [1, 1, 1, 0]


@pytest.mark.usefixtures("here")
def test_other_options_need_another_folder(videos, tmp_path):
    folder = tmp_path / "set"
    list(prepare_videos([videos / f"{NAMES[0]}.mp4"], folder, options=PrepareOptions(model="none")))
    assert Dataset.open(folder).card["space"] is None
    with pytest.raises(DatasetError, match="made with another model, max_yaw"):
        next(prepare_videos([videos], folder, options=PrepareOptions(max_yaw=30)))


@pytest.mark.usefixtures("here")
def test_what_another_run_with_other_options_left_is_not_taken(videos, tmp_path):
    folder, video = tmp_path / "set", videos / f"{NAMES[0]}.mp4"
    other = prepare_videos([video], folder, options=PrepareOptions(min_face=500))
    assert next(other).clips == 0
    other.close()
    assert (folder / STAGING).exists()
    assert next(prepare_videos([video], folder)).clips == 1


@pytest.mark.usefixtures("here")
def test_the_report_says_what_was_left_out_and_loads_nothing(videos, tmp_path):
    frames, sound = talking(seconds=2)
    far = [np.ascontiguousarray(frame[::3, ::3][:84, :84]) for frame in frames]
    write_video(tmp_path / "far<b>.mp4", far, sound)
    list(prepare_videos([videos, tmp_path / "far<b>.mp4"], tmp_path / "set"))
    page = (tmp_path / "set" / "report.html").read_text()
    assert "at least … are needed" in page
    assert "text.mp4 is not a recording" in page
    assert "far&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("data:image/jpeg;base64,") >= 1
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<svg" in page


def test_another_run_into_the_same_folder_is_refused(videos, tmp_path):
    (tmp_path / "set").mkdir()
    with open_partial(tmp_path / "set" / "index.safetensors"), pytest.raises(OutputError, match="another run"):
        next(prepare_videos([videos], tmp_path / "set"))


@pytest.mark.usefixtures("here")
def test_a_full_disk_ends_it_and_leaves_no_video_out(videos, tmp_path, monkeypatch):
    folder, map_rows = tmp_path / "set", run.map_rows

    def full(build, rows, **_):
        for outcome in map_rows(build, rows):
            yield replace(outcome, result=None, error=OutputError("no space")) if outcome.number == 1 else outcome

    with monkeypatch.context() as patch:
        patch.setattr(run, "map_rows", full)
        with pytest.raises(OutputError, match="no space"):
            list(prepare_videos([videos], folder))
    assert [step.clips for step in prepare_videos([videos], folder)] == [1, 1, 1, 0]


def test_a_worker_whose_disk_is_full_does_not_blame_the_video(videos, tmp_path, monkeypatch):
    def full(*_):
        raise OutputError("no space")

    monkeypatch.setattr("kptalk.train.prepare.work._write_record", full)
    (source,), _ = find_sources([videos / f"{NAMES[0]}.mp4"])
    with pytest.raises(OutputError, match="no space"):
        Preparer(tmp_path, PrepareOptions())(source)


def test_what_cannot_begin(videos, tmp_path):
    with pytest.raises(WeightsError, match="nobody"):
        next(prepare_videos([videos], tmp_path / "set", options=PrepareOptions(model="nobody")))
    with pytest.raises(OptionError, match="engine"):
        list(prepare_videos([videos], tmp_path / "set", engine="slurm"))
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="taken"):
        next(prepare_videos([videos], tmp_path / "taken"))
    (tmp_path / "set" / "shard-00000.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="shard-00000"):
        next(prepare_videos([videos], tmp_path / "set"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_processes_leave_what_goes_on(videos):
    """The benchmark's program, with few kills."""
    program = Path(__file__).parents[2] / "benchmarks" / "prepare_kills.py"
    clips = [videos / f"{name}.mp4" for name in NAMES[:2]]
    command = [sys.executable, program, *clips, "--kills", "2", "--seed", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert told.stdout.startswith("2 kills"), told.stderr
    assert "the same bytes" in told.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_ray_cluster_makes_the_same_dataset(videos, tmp_path):
    list(prepare_videos([videos], tmp_path / "a" / "set", jobs=1))
    list(prepare_videos([videos], tmp_path / "b" / "set", engine="ray", jobs=2))
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.slow
def test_the_command_names_what_it_leaves_out(kptalk, videos, tmp_path):
    status, out, err = kptalk("prepare", videos / "text.mp4", videos / f"{NAMES[0]}.mp4", "-o", tmp_path / "set")
    assert (status, err) == (0, "")
    assert "left out text: " in out
    assert f"1 clips are in {tmp_path / 'set'}, 1 were left out" in out
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["clips"] == 1
