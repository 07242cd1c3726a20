"""The shell's completion, by the protocol that bash, zsh and fish speak with the program."""

import os
import subprocess
import sys

import pytest

from kptalk.cli import options
from kptalk.device import DEVICES
from kptalk.weights.model import NAMES


def complete(*words):
    """What bash is offered for the last of the words."""
    line = ["kptalk", *words]
    variables = {"_KPTALK_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    argv = [sys.executable, "-m", "kptalk"]
    done = subprocess.run(argv, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


OFFERED = {
    ("re",): ["reenact"],
    ("motion", "sh"): ["show"],
    ("animate", "--model", ""): ["embedded", "landmark", "official"],
    ("train", "a2l", "--config", "p"): ["paper"],
    ("animate", "--framing", ""): ["full", "crop"],
    ("animate", "--pose", "s"): ["still"],
    ("reenact", "--mode", ""): ["relative", "absolute"],
    ("motion", "render", "--region", "e"): ["expression", "eyes"],
    ("animate", "--device", "c"): ["cpu", "cuda"],
    ("train", "l"): ["lips", "l2v"],
    ("models", "o"): ["official"],
    ("animate", "--pose-"): ["--pose-scale"],
}


@pytest.mark.parametrize("words", OFFERED)
def test_values_are_completed(words):
    assert complete(*words) == OFFERED[words]


def test_bash_is_left_to_complete_file_names():
    assert complete("animate", "fac") == []


def test_the_script_for_bash():
    variables = {**os.environ, "_KPTALK_COMPLETE": "source_bash"}
    argv = [sys.executable, "-m", "kptalk"]
    script = subprocess.run(argv, env=variables, capture_output=True, text=True, check=True).stdout
    assert "_KPTALK_COMPLETE=complete_bash" in script
    assert "-o default" in script  # file names where the program offers nothing
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_words_are_those_of_the_library():
    assert (options.MODELS, options.DEVICES) == (NAMES, DEVICES)
