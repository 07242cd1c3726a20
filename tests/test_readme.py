"""The README tells the truth: its commands run, its flags are the program's."""

import csv
import importlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hub import pull_from, serving
from official_set import STITCHING
from PIL import Image
from recordings import write_clip, write_sound
from skimage.data import astronaut
from studies import ballot
from voices import program, voice_server

from kptalk import Motion, Options, Pipeline, cli
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.weights.registry import ENTRIES, Url, weights_folder

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
RATE = 16_000
# Added to commands that would take minutes to hours.
CHEAPER = {
    "kptalk train audio": "--steps 2",
    "kptalk train lips": "--steps 2",
    "kptalk train motion": "--steps 2",
    "kptalk evaluate --clips": "--seconds 1",
    "-o paper.mp4": "--steps 2 --fps 2",
    "-o paper-driven.mp4": "--fps 5",
    "benchmarks/memory.py": "--minutes 0.02",
    "benchmarks/speed.py": "--runs 1",
    "benchmarks/renderer.py": "--rows 3",
    "benchmarks/motion.py": "--clips videos --no-tables",
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands(start):
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(start)]


def spoken(seconds, start=0.0):
    """(1, N) float32 of the demo's speech at 16 kHz."""
    sound = np.concatenate(list(Speech.open(ROOT / "examples/speech.mp3").chunks()))
    return sound[None, round(start * RATE) :][:, : round(seconds * RATE)]


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """A folder with all the files that the README names."""
    folder = tmp_path_factory.mktemp("stranger")
    photo = Image.fromarray(astronaut())
    photo.save(folder / "face.jpg")
    family = Image.new("RGB", (1024, 512))
    family.paste(photo, (0, 0))
    family.paste(photo, (512, 0))
    family.save(folder / "family.jpg")
    write_sound(folder / "speech.m4a", spoken(0.5), RATE)
    write_clip(folder / "interview.mp4", np.zeros((13, 64, 64, 3), np.uint8), Fraction(25), spoken(0.5), RATE)
    (folder / "videos").mkdir()
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    pipeline = Pipeline.from_pretrained()
    with (folder / "people.csv").open("w", newline="") as file:
        people = csv.writer(file)
        people.writerow(["file", "identity"])
        for seed, name in enumerate(["anna.mp4", "ben.mp4", "carl.mp4"]):
            speech = Speech.from_samples(spoken(3.2, start=2.7 * seed)[0], RATE)
            options = Options(seed=seed, framing="crop", size=256)
            pipeline.animate(folder / "face.jpg", speech, options=options).save(folder / "videos" / name)
            people.writerow([name, name])
    return folder


@pytest.fixture
def here(stranger, monkeypatch):
    monkeypatch.chdir(stranger)
    return stranger


@contextmanager
def suppress_success():
    """A program that ends well goes on here."""
    try:
        yield
    except SystemExit as done:
        if done.code:
            raise


def shorten_recordings(monkeypatch):
    """Benchmarks that make minutes of speech make a second of it."""
    common = importlib.import_module("common")
    whole = common.recording
    monkeypatch.setattr(common, "recording", lambda folder, seconds: whole(folder, min(seconds, 1)))


def run_here(line, monkeypatch):
    """Run one line as a shell would, but in this process, which has loaded everything already."""
    words = shlex.split(line)
    for start, flags in CHEAPER.items():
        words += shlex.split(flags) if start in line else []
    monkeypatch.setattr(sys, "argv", words if words[0] == "kptalk" else words[1:])
    with suppress_success():
        if words[0] == "kptalk":
            cli.main()
        else:
            monkeypatch.syspath_prepend(Path(words[1]).parent)
            shorten_recordings(monkeypatch)
            runpy.run_path(words[1], run_name="__main__")


SAID = "--text"  # needs a voice
STYLED = "--style interview.mp4"  # needs a longer interview, in which somebody is seen


@pytest.mark.parametrize(
    "line", [line for line in commands("kptalk animate") if not any(each in line for each in ("--model", STYLED, SAID))]
)
def test_animate_commands(here, monkeypatch, line):
    run_here(line, monkeypatch)
    output = here / shlex.split(line)[shlex.split(line).index("-o") + 1]
    assert probe(output).has_audio


def test_text_commands(here, tmp_path, monkeypatch):
    """Program and server say a text as a tone."""
    (here / "news.txt").write_text("Nothing happened.")
    for name in ("flite", "espeak-ng"):
        (tmp_path / name).write_text(f'#!/bin/sh\nfor last; do :; done\nexec {program(tmp_path)} "$last"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with voice_server() as (url, asked):
        for line in [line for line in commands("kptalk animate") if SAID in line]:
            local = line.replace("http://localhost:8880/v1/audio/speech", url)
            run_here(f"{local} --framing crop --size 64", monkeypatch)
            assert probe(here / shlex.split(line)[shlex.split(line).index("-o") + 1]).has_audio
    assert [wanted["model"] for _, wanted in asked] == ["kokoro"]


@contextmanager
def interview(folder, video):
    """Another video in the place of the interview, which shows no face."""
    (folder / "interview.mp4").rename(folder / "sound-only.mp4")
    (folder / "interview.mp4").symlink_to(video)
    try:
        yield
    finally:
        (folder / "sound-only.mp4").replace(folder / "interview.mp4")


def test_reenactment_commands(here, monkeypatch):
    """The driver is one of the videos here that show a face."""
    with interview(here, here / "videos" / "anna.mp4"):
        for line in [*commands("kptalk reenact"), *commands("kptalk motion")]:
            if "official" not in line:
                run_here(line, monkeypatch)
                assert (here / shlex.split(line)[shlex.split(line).index("-o") + 1]).is_file()


def test_style_command(here, monkeypatch):
    (line,) = [line for line in commands("kptalk animate") if STYLED in line]
    monkeypatch.setattr("kptalk.motion.facemesh.style.SHORTEST", 50)
    with interview(here, here / "videos" / "anna.mp4"):
        run_here(line, monkeypatch)
    assert probe(here / "like-her.mp4").has_audio


def test_training_commands(here, monkeypatch, capsys):
    """Three people in clips of three seconds are too few for one of the recipes, which says so."""
    (block,) = [block for block in blocks("sh") if "kptalk prepare" in block]
    for line in block.splitlines():
        if line.startswith("kptalk train head"):
            with pytest.raises(SystemExit):
                run_here(line, monkeypatch)
            assert "prepare longer clips" in capsys.readouterr().err
        else:
            run_here(line, monkeypatch)
    assert probe(here / "mine.mp4").has_audio


@pytest.mark.xdist_group("official")
def test_official_commands(here, converted, tmp_path, monkeypatch, capsys):
    """The hub is on loopback and has made-up weights; what is large was converted before."""
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path / "home"))
    folder = weights_folder()
    folder.mkdir(parents=True)
    pulled = ("stitching", "retargeting_eye", "kdtalker_norm")
    for file in converted.home.rglob("weights/official/*"):
        if file.stem not in pulled:
            (folder / file.name).symlink_to(file)
    norm = converted.published / "dataset_process/norm.npz"
    head = astronaut()[:320, 60:380]
    write_clip(tmp_path / "short.mp4", np.stack([np.roll(head, 4 * k, 1) for k in range(6)]), 25, spoken(0.24), RATE)
    with serving() as hub, interview(here, tmp_path / "short.mp4"):
        pull_from(hub, tmp_path / "cache", monkeypatch)
        hub.add(STITCHING.source, next(converted.published.rglob(STITCHING.original)).read_bytes())
        hub.files["norm.npz"] = norm.read_bytes()
        local = replace(ENTRIES["kdtalker_norm"], source=Url(f"{hub.url}/norm.npz"))
        monkeypatch.setitem(ENTRIES, "kdtalker_norm", local)
        (block,) = [block for block in blocks("sh") if "kptalk weights pull" in block]
        for line in block.splitlines():
            run_here(line, monkeypatch)
    told = capsys.readouterr().out
    assert all(f"{name}: {folder / name}.safetensors\n" in told for name in pulled)
    assert probe(here / "paper.mp4").has_audio
    assert probe(here / "paper-driven.mp4").fps == 5


def test_evaluation_commands(here, monkeypatch, capsys):
    shutil.copytree(here / "videos", here / "others")
    for line in commands("kptalk evaluate"):
        run_here(line, monkeypatch)
        assert "lip opening r" in capsys.readouterr().out
        assert (here / line.split()[-1] / "report.html").is_file()
    build, count = commands("kptalk study")
    run_here(build, monkeypatch)
    (here / "votes").mkdir()
    for person in ("anna", "ben"):
        votes = ballot(here / "study.key.json", person, lambda question, number: ("generated", "others")[number % 2])
        (here / "votes" / f"{person}.json").write_text(json.dumps(votes))
    run_here(count, monkeypatch)
    assert "2 participants, 3 clips" in capsys.readouterr().out


@pytest.mark.slow
def test_install_commands(tmp_path, monkeypatch, capfd):
    (install, torch), (doctor,) = commands("pip"), commands("kptalk doctor")
    assert torch.startswith("pip install torch==2.13.0 --index-url ")  # no test downloads it
    argv = [sys.executable, "-m", *shlex.split(install), "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*argv, "--target", tmp_path], cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "kptalk" / "cli" / "__init__.py").is_file()
    run_here(doctor, monkeypatch)
    assert "one second drawn" in capfd.readouterr().out


@pytest.mark.parametrize("line", commands("python benchmarks"))
def test_benchmark_commands(here, monkeypatch, capsys, line, request):
    if "renderer" in line:
        request.getfixturevalue("shared_data")
    run_here(line, monkeypatch)
    assert capsys.readouterr().out.strip()


def test_every_command_is_run_here():
    known = ("kptalk animate", "kptalk prepare", "kptalk train", "kptalk evaluate", "kptalk study", "kptalk doctor")
    known += ("kptalk reenact", "kptalk motion")
    known += (
        "kptalk models",
        "kptalk weights",
        "kptalk batch",  # in tests/batch/test_documented.py
        "kptalk serve",  # these two in tests/serve/test_documented.py
        "curl ",
        "pip install -c constraints.txt .",
        "pip install torch",
        "python benchmarks/",
    )
    for block in blocks("sh"):
        for line in block.splitlines():
            assert line.startswith(known) or line in ("make demo", "make test"), line


def test_python_examples(here):
    if not (here / "head.safetensors").exists():  # one of the commands makes it, if it ran before
        motions = Pipeline.from_pretrained().animate("face.jpg", "speech.m4a").motion()
        Motion.concatenate(list(motions)).save("head.safetensors")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})


def make(folder, *words):
    """`make` in a folder that sees this checkout; the environment is the one that runs this test."""
    for name in ("examples", "Makefile", "constraints.txt", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    argv = ["make", "--old-file=.venv/.ready", *words]
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "TORCH")}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make_demo(tmp_path):
    done = make(tmp_path, "demo")
    assert re.search(r"^out/demo\.mp4  \(loading .* s in all\)$", done.stdout, re.MULTILINE)
    clip = probe(tmp_path / "out/demo.mp4")
    assert clip.size == (512, 512)
    assert 8 < clip.duration < 10


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make_test_checks_everything(tmp_path):
    """These tests are part of it, so it is not run but read."""
    lines = make(tmp_path, "--dry-run", "test").stdout
    programs = [line.split()[0] for line in lines.splitlines() if line.startswith(".venv/bin/")]
    assert [Path(program).name for program in programs] == ["ruff", "ruff", "mypy", "python"]
    assert "python -m pytest" in lines


def test_the_options_are_those_that_the_program_prints(monkeypatch, capsys):
    """That the table is the parser's is tested with the pages of docs."""
    table = re.search(r"\| `kptalk animate` .*\n\|---.*\n((?:\|.*\n)*)", TEXT).group(1)
    run_here("kptalk animate --help", monkeypatch)
    _, options = capsys.readouterr().out.split(" Output ")
    shown = re.findall(r"(?<=\s)--?[a-z-]+(?=\s)", options)
    assert set(re.findall(r"`(--?[a-z-]+)`", table)) == set(shown) - {"--help"}


def test_no_option_or_command_of_before_is_left():
    """They were renamed before the first release."""
    for name in ("--weights", "--renderer", "--method", "--output-file", "--output full", "--output crop", "--blink "):
        assert name not in TEXT, name
    assert not re.search(r"--blink\b(?!s)", TEXT)
    assert "weights list" not in TEXT


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert "://" in target or (ROOT / target).exists(), target
