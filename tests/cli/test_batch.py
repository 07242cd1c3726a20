"""``kptalk batch``: what it prints and refuses, its exit codes, and that it goes on after a signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batches import inputs, listed, made, no_models, spoken, table
from commands import refused


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def drawn(monkeypatch):
    return no_models(monkeypatch)


def test_a_table(kptalk, drawn, source, tmp_path):
    rows = [{"portrait": "anna.png", "speech": "short.wav", "fps": fps, "output": f"{fps}.mp4"} for fps in (10, 25)]
    rows.append({"portrait": "landscape.png", "speech": "short.wav", "output": "c.mp4"})
    path = table(source / "jobs.csv", rows)
    code, out, err = kptalk("batch", path, "-o", tmp_path, "--seed", 3)
    assert (code, err) == (1, "")
    assert out == (
        "row 3 failed: no human face found in the picture\n"
        f"2 videos are in {tmp_path}, 0 of them from before; 1 rows failed\n"
    )
    assert [line["frames"] for line in listed(tmp_path)] == ["4", "10", "0"]
    code, out, err = kptalk("batch", path, "-o", tmp_path, "--seed", 3)
    assert out.startswith("row 3 failed, as before: no human face")
    assert "2 videos are in" in out
    assert "2 of them from before" in out
    table(source / "jobs.csv", rows[:2])
    assert kptalk("batch", path, "-o", tmp_path, "--seed", 3, "--quiet") == (0, "", "")
    code, out, _ = kptalk("batch", path, "-o", tmp_path, "--seed", 4)
    assert (code, "0 of them from before" in out) == (0, True)


def test_patterns(kptalk, drawn, source, tmp_path):
    code, out, _ = kptalk("batch", "-o", tmp_path, "--portraits", f"{source}/a*.png", "--speeches", f"{source}/*.wav")
    assert (code, out.split(" ")[0]) == (0, "2")
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["anna-long.mp4", "anna-short.mp4"]


def test_what_is_refused(kptalk, source, tmp_path):
    for argv in ([], [source / "jobs.csv", "--portraits", "*.png"], ["--speeches", "*.wav"]):
        assert refused(kptalk("batch", "-o", tmp_path, *argv), "give JOBS, or --portraits and --speeches")
    assert refused(kptalk("batch", source / "none.csv", "-o", tmp_path), "cannot open")
    assert refused(kptalk("batch", source / "anna.png", "-o", tmp_path), "ends in .csv")
    assert refused(kptalk("batch", "-o", tmp_path, "--portraits", "*.gif"), "--portraits is '*.gif'")
    assert refused(kptalk("batch", "-o", tmp_path, source / "jobs.csv", "--yaw", 99), "--yaw is 99")
    row = {"portrait": "anna.png", "speech": "short.wav"}
    assert refused(kptalk("batch", table(source / "twice.csv", [row, row]), "-o", tmp_path), "rows 1 and 2")
    assert refused(kptalk("batch", table(source / "one.csv", [row]), "-o", "nowhere://a"), "--output is 'nowhere://a'")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_after_a_signal_the_same_command_goes_on(tmp_path):
    """With the embedded model, in processes."""
    path = table(tmp_path / "jobs.csv", spoken(tmp_path, 4))
    argv = [sys.executable, "-m", "kptalk", "batch", path, "-o", tmp_path / "out"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen([*argv, "--jobs", "2"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    end = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*.mp4")):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=30)
    assert (first.returncode, out) == (130, "")
    assert err == f"kptalk: stopped: the same command goes on, {tmp_path / 'out'} is not finished\n"
    before = {video.name: video.stat().st_mtime_ns for video in (tmp_path / "out").glob("*.mp4")}
    done = subprocess.run([*argv, "--jobs", "1"], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line["status"] for line in listed(tmp_path / "out")] == ["done"] * 4
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before} == before
    assert not (tmp_path / "out" / ".unfinished").exists()


@pytest.mark.slow
def test_a_ray_cluster_makes_the_same(ray_cluster, tmp_path):
    rows = spoken(tmp_path, 2)
    rows += [{**rows[0], "output": "none.mp4", "face": 7}]
    local, _ = made(rows, tmp_path / "local", workers=1)
    there, _ = made(rows, tmp_path / "ray", engine="ray", workers=1)
    assert [there[number].sha256 for number in (1, 2)] == [local[number].sha256 for number in (1, 2)]
    assert there[3].error == local[3].error
    assert "face 7 requested" in there[3].error
    assert Path(tmp_path / "ray/0.mp4").read_bytes() == (tmp_path / "local/0.mp4").read_bytes()
