"""What a user's type checker and editor see: every option as a keyword, with what it takes."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from kptalk.options import (
    Control,
    ControlKeywords,
    OptionKeywords,
    Options,
    ReenactKeywords,
    ReenactOptions,
    RetargetKeywords,
    RetargetOptions,
)

SOURCE = Path(__file__).parents[1] / "src"
USER = """
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import kptalk
from kptalk import Animation, Control, Motion, Options, Pipeline, Portrait, ReenactOptions, RetargetOptions, Speech

options = Options(fps=30, size=512, seed=7, control=Control(pose="still", yaw=3, blinks=None))
Options(fps=29.97), Options(fps="30000/1001"), Options(fps=Fraction(25)), Options(size="512", steps=None)
rate: Fraction = options.fps
size: int | None = options.size
turned: float = options.changed(yaw=4, fps=24, framing="crop").control.yaw
kptalk.animate("face.jpg", "speech.wav", seed=7, framing="crop", pose="still").save("out.mp4")
pipeline = Pipeline.from_pretrained("embedded", precision="float32")
for portrait in ("face.jpg", Path("face.jpg"), b"", BytesIO(), open("face.jpg", "rb"), Image.new("RGB", (9, 9))):
    pipeline.animate(portrait, "speech.wav")
pipeline.animate(np.zeros((64, 64)), (np.zeros(16_000), 16_000), options=options, mouth_scale=1.2)
pipeline.animate(np.zeros((64, 64, 3), np.uint8), BytesIO(), face=2)
animation: Animation = pipeline.animate("face.jpg", Speech.open("speech.wav"))
saved: Path = animation.save("out.mp4", on_progress=lambda stage, done, total: None)
animation.save(BytesIO())
first: np.uint8 = next(iter(animation))[0, 0, 0]
count: int | None = animation.expected
sound: Speech | None = animation.sound
animation.cancel()
driven = ReenactOptions(retarget=RetargetOptions(mode="absolute"), fps=None)
pipeline.reenact("face.jpg", "driver.mp4", options=driven, region="lips", size=256)
pipeline.reenact("face.jpg", Motion.load("head.safetensors"), (np.zeros(9), 16_000), mode="absolute")
for frame in pipeline.stream("face.jpg", "speech.wav", fps=25):
    height: int = frame.shape[0]


def chosen(portrait: kptalk.PortraitLike, speech: kptalk.SpeechLike) -> Animation:
    return pipeline.animate(portrait, speech)
"""
WRONG = """
import kptalk
from kptalk import Control, Options, Pipeline, ReenactOptions

Options(seed=None)
Options(speed=3)
Options(fps=None)
Control(yaw=[3])
ReenactOptions(seed=3)
kptalk.animate("face.jpg", "speech.wav", colour="red")
pipeline = Pipeline.from_pretrained()
pipeline.animate("face.jpg", "speech.wav", size=[512])
pipeline.reenact("face.jpg", "driver.mp4", pose="still")
pipeline.stream("face.jpg", "speech.wav", mode="absolute")
pipeline.animate(3, "speech.wav")
pipeline.animate("face.jpg", "speech.wav").save(3)
"""
# What no signature of kptalk's shows, and takes a minute to read.
SETTINGS = """
[mypy]
strict = True
[mypy-torch.*,av.*,cv2.*,mediapipe.*,scipy.*,diffusers.*,huggingface_hub.*,safetensors.*]
follow_imports = skip
"""


def names(*kinds):
    return {each.name for kind in kinds for each in fields(kind)}


def test_the_keywords_are_the_options():
    assert names(Control) == ControlKeywords.__optional_keys__
    assert names(RetargetOptions) == RetargetKeywords.__optional_keys__
    assert names(Options, Control) == OptionKeywords.__optional_keys__
    assert names(ReenactOptions, RetargetOptions) == ReenactKeywords.__optional_keys__


@pytest.mark.parametrize("keywords", [OptionKeywords, ReenactKeywords])
def test_every_option_that_may_be_none_or_a_number_is_typed_so(keywords):
    kinds = (Options, Control) if keywords is OptionKeywords else (ReenactOptions, RetargetOptions)
    for kind in kinds:
        for each in fields(kind):
            written = keywords.__annotations__[each.name].__forward_arg__
            assert set(each.type.split(" | ")) <= set(written.split(" | ")), each.name


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """What mypy says of a script, as a user has it who installed kptalk."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "mypy.ini").write_text(SETTINGS)

    def check(text):
        (folder / "user.py").write_text(text)
        argv = ["--config-file", "mypy.ini", "--follow-imports", "silent", "--cache-dir", "cache", "user.py"]
        run = subprocess.run(
            [sys.executable, "-m", "mypy", *argv],
            cwd=folder,
            env={**os.environ, "MYPYPATH": str(SOURCE)},
            capture_output=True,
            text=True,
        )
        return run.stdout.splitlines()

    return check


@pytest.mark.slow
def test_a_typed_user_is_at_home(checked):
    assert checked(USER) == ["Success: no issues found in 1 source file"]
    errors = [line for line in checked(WRONG) if " error: " in line]
    wrong = [
        number for number, line in enumerate(WRONG.splitlines(), 1) if "(" in line and "from_pretrained" not in line
    ]
    assert sorted({int(line.split(":")[1]) for line in errors}) == wrong
