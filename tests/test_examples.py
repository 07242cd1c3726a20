"""The examples do what they say, with stand-ins for the models or recordings of a second."""

import io
import re
import runpy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fakes import facemesh_space, fake_pipeline, plain_portrait, random_motion
from PIL import Image
from recordings import write_clip, write_sound

from kptalk.media.clip import probe

EXAMPLES = Path(__file__).parents[1] / "examples"
RATE = 16_000


def example(name):
    """The functions of an example, which is not run."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def hum(seconds):
    """(1, N) float32."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 140 * t))[None].astype(np.float32)


@pytest.fixture(scope="module")
def pipeline():
    return fake_pipeline(facemesh_space())


@pytest.fixture
def portrait(pipeline):
    return plain_portrait(pipeline.method.space)


@pytest.fixture
def speech(tmp_path):
    write_sound(tmp_path / "speech.wav", hum(0.6), RATE)
    return tmp_path / "speech.wav"


def test_stream_writes_every_frame(pipeline, portrait, speech):
    sink = io.BytesIO()
    assert example("stream")["stream"](pipeline, portrait, speech, sink) == 15
    assert len(sink.getvalue()) == 15 * 256 * 256 * 3


def test_batch_goes_on_after_a_bad_photo(pipeline, portrait, speech, tmp_path, monkeypatch):
    Image.fromarray(portrait.image).save(tmp_path / "anna.png")
    monkeypatch.setattr("kptalk.pipeline.find_portrait", lambda image, face: plain_portrait(pipeline.method.space))
    names = [str(tmp_path / name) for name in ("missing.png", "anna.png")]
    failed = example("batch")["batch"](pipeline, speech, tmp_path / "out", names)
    assert list(failed) == names[:1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["anna.mp4"]


def test_nod_moves_the_pitch_alone(pipeline, portrait, speech, tmp_path):
    space, functions = pipeline.method.space, example("nod")
    motion = random_motion(50)
    nodded = functions["nod"](motion, degrees=5.0, beats_per_minute=60)
    change = nodded.rotation - motion.rotation
    assert np.ptp(change[:, 1]) == pytest.approx(10, abs=0.1)
    assert not change[:, [0, 2]].any()
    assert np.allclose(space.to_head_frame(nodded), space.to_head_frame(motion), atol=1e-5)
    functions["nodding"](pipeline, portrait, speech, tmp_path / "nodding.mp4")
    clip = probe(tmp_path / "nodding.mp4")
    assert clip.has_audio
    assert clip.duration == pytest.approx(0.6, abs=0.05)


def test_a_metric_of_ones_own_is_measured(tmp_path, monkeypatch, capsys):
    for name, grey in (("real", 100), ("ours", 120)):
        (tmp_path / name).mkdir()
        write_clip(tmp_path / name / "a.mp4", np.full((5, 64, 64, 3), grey, np.uint8), Fraction(25), hum(0.2), RATE)
    monkeypatch.setattr("sys.argv", ["metric.py", str(tmp_path / "real"), str(tmp_path / "ours")])
    runpy.run_path(str(EXAMPLES / "metric.py"), run_name="__main__")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "brightness" in line]
    real, ours = re.findall(r"\d+\.\d+", row)
    assert float(real) == 0
    assert float(ours) == pytest.approx(20, abs=1.5)  # encoded in between


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_say_how_to_run_them(path):
    text = path.read_text()
    assert len(text.splitlines()) < 40
    assert f"python examples/{path.name}" in text.split('"""')[1]
