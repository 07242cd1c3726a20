"""What needs no model is answered before torch, OpenCV and FFmpeg are imported."""

import os
import subprocess
import sys
import time

import pytest

from kptalk.version import __version__

PROGRAM = """
import sys
from kptalk.cli import main
sys.argv[0] = "kptalk"
try:
    main()
finally:
    print(*sorted({"torch", "cv2", "av", "scipy", "PIL"} & set(sys.modules)), sep=",", file=sys.stderr)
"""


@pytest.fixture
def run(tmp_path):
    """Runs the program in a folder that has inputs with some content, and an output; gives its exit code and stderr."""
    for name in ("face.png", "speech.wav", "clip.mp4", "head.safetensors", "taken.mp4"):
        (tmp_path / name).write_bytes(b"some content")

    def start(*argv):
        done = subprocess.run([sys.executable, "-c", PROGRAM, *argv], cwd=tmp_path, capture_output=True, text=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
        return done.returncode, done.stderr

    names = [path.name for path in tmp_path.iterdir()]
    return start


ANIMATE = "animate face.png speech.wav -o out.mp4"
RENDER = "motion render face.png head.safetensors -o out.mp4"
BAD = {
    "animate face.png speech.wav -o taken.mp4": "taken.mp4 exists already: give another name, or allow overwriting",
    "animate face.png speech.wav -o out.avi": "out.avi: give a name that ends in .mp4",
    "animate face.png speech.wav -o no/out.mp4": "cannot write no/out.mp4: no does not exist",
    "animate no.png speech.wav -o out.mp4": "cannot open no.png: No such file",
    "animate face.png no.wav -o out.mp4": "cannot open no.wav: No such file",
    f"{ANIMATE} --fps fast": "--fps is 'fast'",
    f"{ANIMATE} --yaw 90": "--yaw is 90",
    f"{ANIMATE} --pose-scale 9": "--pose-scale is 9",
    f"{ANIMATE} --blinks often": "--blinks is 'often'",
    f"{ANIMATE} --framing half": "--framing is 'half'",
    f"{ANIMATE} --pose no.mp4": "cannot open no.mp4",
    f"{ANIMATE} --save-motion no/m.safetensors": "no does not exist",
    "reenact face.png no.mp4 -o out.mp4": "cannot open no.mp4",
    "reenact face.png clip.mp4 -o out.mp4 --mode both": "--mode is 'both'",
    f"{RENDER} --speech no.wav": "cannot open no.wav",
    "motion render face.png no.safetensors -o out.mp4": "cannot open no.safetensors",
    "motion extract clip.mp4 -o out.mp4": "ends in .safetensors",
    "motion show no.safetensors -o out.png": "cannot open no.safetensors",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_refused_before_anything_heavy_is_imported(run, line):
    code, words = run(*line.split())
    error, imported = words.splitlines()
    assert (code, imported) == (2, "")
    assert error.startswith("kptalk: error: ")
    assert BAD[line] in error


def test_a_model_that_is_not_there_is_named_at_once(run):
    code, words = run(*ANIMATE.split(), "--model", "no")
    error, imported = words.splitlines()
    assert (code, imported) == (1, "")
    assert "no model.json in no" in error


def test_the_flag_that_allows_overwriting_is_named(run):
    assert "(--overwrite)" in run(*["animate", "face.png", "speech.wav", "-o", "taken.mp4"])[1]


@pytest.mark.parametrize("line", ["--help", "animate --help", "motion render --help", "--version"])
def test_help_imports_nothing_heavy(run, line):
    assert run(*line.split()) == (0, "\n")


def test_the_answer_comes_at_once(run):
    """Seconds of processor time, in which importing torch alone takes more."""
    before = os.times()
    run(*["animate", "no.png", "speech.wav", "-o", "out.mp4"])
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 1


def on_terminal(argv, wanted):
    """Run on a terminal of its own until it has written what is wanted; all that it wrote."""
    leader, follower = pytest.importorskip("pty").openpty()
    environment = {**os.environ, "TERM": "xterm"}
    running = subprocess.Popen(argv, stdin=follower, stdout=subprocess.DEVNULL, stderr=follower, env=environment)
    os.close(follower)
    written, deadline = b"", time.monotonic() + 30
    try:
        while wanted not in written and time.monotonic() < deadline:
            written += os.read(leader, 1000)
        return written
    finally:
        running.kill()
        running.wait()
        os.close(leader)


def test_the_first_word_on_a_terminal(tmp_path):
    argv = [sys.executable, "-m", "kptalk", "animate", "face.png", "speech.wav", "-o", str(tmp_path / "out.mp4")]
    first = f"kptalk {__version__}: starting".encode()
    assert on_terminal(argv, first).startswith(first)
    assert b"starting\r\x1b[Kkptalk: error: cannot open face.png" in on_terminal(argv, b"face.png")
