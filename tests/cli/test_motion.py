"""``kptalk reenact`` and ``kptalk motion``: what works, and one line for what does not."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from commands import refused
from fakes import random_motion
from PIL import Image
from recordings import tone, write_clip, write_sound
from skimage import data

from kptalk.cli.process import Stopped
from kptalk.files import check_writable
from kptalk.media.clip import probe, read_frames
from kptalk.types import Motion

RATE = 16_000


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """A photo, a driving video of 12 frames with sound, in which the photo's face moves, and a motion file."""
    folder = tmp_path_factory.mktemp("inputs")
    photo = data.astronaut()
    Image.fromarray(photo).save(folder / "face.png")
    head = photo[:320, 60:380]
    frames = np.stack([np.roll(head, 2 * k, 1)[::2, ::2] for k in range(12)])
    write_clip(folder / "driver.mp4", frames, 30, tone(RATE, 0.4), RATE)
    random_motion(12, 2, Fraction(30)).save(folder / "motion.safetensors")
    random_motion(12, 2, space="liveportrait").save(folder / "other.safetensors")
    return folder


@pytest.fixture
def commands(kptalk, inputs, tmp_path):
    """The four commands with good arguments, as far as others are not given."""

    def reenact(*flags, portrait=inputs / "face.png", video=inputs / "driver.mp4", output=tmp_path / "out.mp4"):
        return kptalk("reenact", portrait, video, "-o", output, *flags)

    def extract(*flags, video=inputs / "driver.mp4", output=tmp_path / "out.safetensors"):
        return kptalk("motion", "extract", video, "-o", output, *flags)

    def show(*flags, motion=inputs / "motion.safetensors", output=tmp_path / "out.png"):
        return kptalk("motion", "show", motion, "-o", output, *flags)

    def render(*flags, portrait=inputs / "face.png", motion=inputs / "motion.safetensors", output=tmp_path / "out.mp4"):
        return kptalk("motion", "render", portrait, motion, "-o", output, *flags)

    return {"reenact": reenact, "extract": extract, "show": show, "render": render}


@pytest.mark.slow
def test_reenact(commands, tmp_path):
    saved = tmp_path / "motion.safetensors"
    status, out, err = commands["reenact"]("--save-motion", saved)
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'out.mp4'}  (loading")
    assert out.count("\n") == 1
    clip = probe(tmp_path / "out.mp4")
    assert (clip.fps, clip.size, clip.has_audio) == (30, (512, 512), True)
    motion = Motion.load(saved)
    assert (len(motion), motion.fps) == (12, 30)
    assert motion.translation[-1, 0] - motion.translation[0, 0] > 0.1  # the driver moves to the right


@pytest.mark.slow
def test_all_flags_of_reenact_together(commands, tmp_path):
    flags = "--mode absolute --region expression --fps 29.97 --size 128 --framing crop --face 1 --device cpu"
    assert commands["reenact"](*flags.split(), "--overwrite", "--quiet") == (0, "", "")
    clip = probe(tmp_path / "out.mp4")
    assert (str(clip.fps), clip.size) == ("30000/1001", (128, 128))


@pytest.mark.slow
def test_a_motion_goes_from_a_video_to_a_file_to_a_plot_and_to_a_portrait(commands, tmp_path, inputs):
    file = tmp_path / "out.safetensors"
    assert commands["extract"]() == (0, f"{file}  (12 frames at 30 fps)\n", "")
    assert len(Motion.load(file)) == 12
    assert commands["show"](motion=file) == (0, f"{tmp_path / 'out.png'}\n", "")
    assert commands["show"]("--model", "official", "--overwrite", "--quiet", motion=file) == (0, "", "")
    with Image.open(tmp_path / "out.png") as plot:
        assert plot.width > 800
        assert len(plot.convert("RGB").getcolors(1_000_000)) > 20
    status, out, err = commands["render"](motion=file)
    assert (status, err) == (0, "")
    assert str(tmp_path / "out.mp4") in out
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 12
    assert not probe(tmp_path / "out.mp4").has_audio


@pytest.mark.slow
def test_landmarks_are_motion_like_any_other(commands, tmp_path, inputs):
    file, model = tmp_path / "out.safetensors", ("--model", "landmark")
    assert commands["extract"](*model, "--quiet") == (0, "", "")
    motion = Motion.load(file)
    assert (len(motion), motion.space, motion.expression.shape[1]) == (12, "landmark", 478)
    for chosen in ((), model, ("--model", "official")):
        assert commands["show"](*chosen, "--overwrite", "--quiet", motion=file) == (0, "", "")
    with Image.open(tmp_path / "out.png") as plot:
        assert plot.height > 900  # five rows
    assert refused(commands["render"](motion=file), "'landmark'", "'facemesh'")
    assert refused(commands["render"](*model), "'facemesh'", "'landmark'")
    assert commands["render"](*model, "--region", "lips", "--quiet", motion=file) == (0, "", "")
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 12


def test_extract_at_another_rate(commands, tmp_path):
    assert commands["extract"]("--fps", "25", "--quiet") == (0, "", "")
    motion = Motion.load(tmp_path / "out.safetensors")
    assert (len(motion), motion.fps) == (10, 25)


def test_render_with_sound(commands, tmp_path):
    write_sound(tmp_path / "speech.wav", tone(RATE, 2.0), RATE)
    flags = ["--speech", tmp_path / "speech.wav", "--mode", "relative", "--region", "pose", "--size", "128", "--quiet"]
    assert commands["render"](*flags) == (0, "", "")
    clip = probe(tmp_path / "out.mp4")
    assert (clip.has_audio, clip.size, float(clip.duration)) == (True, (128, 128), pytest.approx(0.4, abs=0.01))


def test_a_motion_of_another_space_can_be_shown_but_not_drawn(commands, inputs, tmp_path):
    other = inputs / "other.safetensors"
    assert refused(commands["render"](motion=other), "'liveportrait'", "'facemesh'")
    assert not list(tmp_path.iterdir())
    assert commands["show"]("--quiet", motion=other) == (0, "", "")


def faceless(path):
    write_clip(path, np.zeros((5, 64, 64, 3), np.uint8), 25)


BAD_VIDEOS = {
    "no face": (faceless, ["driver.mp4", "no face"]),
    "absent": (lambda path: None, ["driver.mp4", "No such file"]),
    "empty": (Path.touch, ["driver.mp4", "empty"]),
    "a folder": (Path.mkdir, ["driver.mp4", "folder"]),
    "a text": (lambda path: path.write_text("Dear diary\n" * 50), ["driver.mp4"]),
    "only sound": (lambda path: write_sound(path, tone(RATE, 0.4), RATE), ["driver.mp4", "no pictures"]),
}


@pytest.mark.parametrize(("command", "kind"), [("reenact", "no face"), *(("extract", kind) for kind in BAD_VIDEOS)])
def test_a_video_that_cannot_drive(commands, tmp_path, command, kind):
    make, words = BAD_VIDEOS[kind]
    make(tmp_path / "driver.mp4")
    before = set(tmp_path.iterdir())
    assert refused(commands[command](video=tmp_path / "driver.mp4"), *words)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("command", "content"), [("show", None), ("show", b""), ("render", b"no motion")])
def test_a_file_that_holds_no_motion(commands, tmp_path, command, content):
    file = tmp_path / "motion.safetensors"
    if content is not None:
        file.write_bytes(content)
    assert refused(commands[command](motion=file), str(file))


ENDINGS = {"reenact": ".mp4", "render": ".mp4", "extract": ".safetensors", "show": ".png"}


@pytest.mark.parametrize("command", ENDINGS)
def test_outputs_that_cannot_be(commands, tmp_path, command):
    taken = tmp_path / f"taken{ENDINGS[command]}"
    taken.write_text("precious")
    assert refused(commands[command](output=taken), str(taken), "exists already")
    assert refused(commands[command](output=tmp_path / "out.avi"), "out.avi", ENDINGS[command])
    assert refused(commands[command](output=tmp_path / "absent" / taken.name), "absent", "does not exist")
    assert refused(commands[command](output=Path("/proc") / taken.name), "/proc")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]
    assert commands[command]("--overwrite", "--quiet", output=taken) == (0, "", "")


@pytest.mark.parametrize("command", ["reenact", "render"])
@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--mode", "both"),
        ("--region", "nose"),
        ("--fps", "fast"),
        ("--size", "10"),
        ("--framing", "half"),
        ("--face", "2"),
    ],
)
def test_a_flag_without_sense(commands, tmp_path, command, flag, value):
    assert refused(commands[command](flag, value), flag.strip("-"))
    assert not list(tmp_path.iterdir())


def test_a_photo_without_a_face(commands, tmp_path):
    Image.fromarray(np.full((200, 300, 3), 128, np.uint8)).save(tmp_path / "grey.png")
    for command in ("reenact", "render"):
        assert refused(commands[command](portrait=tmp_path / "grey.png"), "no human face")


def test_a_plot_says_what_to_install(commands, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert refused(commands["show"](), "pip install 'kptalk[plot]'", code=1)
    assert not list(tmp_path.iterdir())


def test_frames_without_a_face_are_a_warning(commands, inputs, tmp_path):
    frames = np.stack(list(read_frames(inputs / "driver.mp4")))
    write_clip(tmp_path / "late.mp4", np.concatenate([frames[:4] * 0, frames[:8]]), 25)
    status, out, err = commands["extract"](video=tmp_path / "late.mp4")
    assert (status, out) == (0, f"{tmp_path / 'out.safetensors'}  (12 frames at 25 fps)\n")
    assert len(err.splitlines()) == 1
    assert err.startswith("kptalk: warning: face found in only 8 of 12 frames")


@pytest.mark.parametrize("command", ["reenact", "extract", "render"])
def test_ctrl_c_before_anything_was_made(commands, tmp_path, monkeypatch, command):
    def stop(*_):
        raise Stopped

    monkeypatch.setattr("kptalk.motion.facemesh.space.FaceMeshSpace.load", stop)
    assert commands[command]() == (130, "", "kptalk: stopped: nothing was written\n")
    assert not list(tmp_path.iterdir())


def test_while_a_motion_is_taken_no_other_run_may_write_it(commands, tmp_path, monkeypatch):
    def read(*_, **__):
        check_writable(tmp_path / "out.safetensors", ".safetensors")

    monkeypatch.setattr("kptalk.motion.video.VideoMotion.read", read)
    assert refused(commands["extract"](), "another run is writing")
    assert list(tmp_path.iterdir()) == []
