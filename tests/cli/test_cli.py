"""The command line: bad input is one line and exit code 2, odd input works, and what is cut short is named."""

import json
import re
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import typer
from commands import refused
from PIL import Image
from recordings import tone, write_clip, write_sound
from skimage import data

from kptalk.cli.app import app
from kptalk.cli.process import Stopped
from kptalk.files import partial_path
from kptalk.media.clip import probe
from kptalk.types import Motion
from kptalk.version import __version__

RATE = 16_000


def hum(seconds):
    """(1, N) float32: something voice-like that is cheap."""
    t = np.arange(round(RATE * seconds)) / RATE
    return (tone(RATE, seconds, hertz=140) * (1 + np.sin(2 * np.pi * 4 * t)) / 2).astype(np.float32)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """A folder with a photo and a short recording that work."""
    folder = tmp_path_factory.mktemp("inputs")
    Image.fromarray(data.astronaut()).save(folder / "face.png")
    write_sound(folder / "speech.wav", hum(0.4), RATE)
    return folder


@pytest.fixture
def animate(kptalk, inputs, tmp_path):
    """``kptalk animate`` with a good photo, recording and output, as far as others are not given."""

    def run(*flags, portrait=inputs / "face.png", speech=inputs / "speech.wav", output=tmp_path / "out.mp4"):
        return kptalk("animate", portrait, speech, "-o", output, *flags)

    return run


def grey(path, height=200, width=300):
    Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(path)


def small(path):
    Image.fromarray(data.astronaut()).resize((230, 230)).save(path)


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


BAD_PHOTOS = {
    "no face": ("photo.png", grey, ["no human face", "use a photo"]),
    "face under 64 pixels": ("photo.png", small, ["pixels", "64", "larger photo"]),
    "corrupt": ("photo.jpg", noise, ["photo.jpg", "not an image"]),
    "empty": ("photo.jpg", Path.touch, ["photo.jpg", "empty"]),
    "absent": ("photo.jpg", lambda path: None, ["photo.jpg", "No such file"]),
}


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_photo_that_cannot_speak(animate, tmp_path, kind):
    name, make, words = BAD_PHOTOS[kind]
    make(tmp_path / name)
    before = set(tmp_path.iterdir())
    assert refused(animate(portrait=tmp_path / name), *words)
    assert set(tmp_path.iterdir()) == before


def silent_video(path):
    write_clip(path, np.zeros((5, 64, 64, 3), np.uint8), 25)


BAD_SOUNDS = {
    "corrupt": ("speech.wav", noise, ["speech.wav", "not a recording"]),
    "absent": ("speech.mp3", lambda path: None, ["speech.mp3", "No such file"]),
    "a photo": ("speech.wav", lambda path: Image.new("RGB", (64, 64)).save(path, "PNG"), ["speech.wav", "swapped"]),
    "video without sound": ("clip.mp4", silent_video, ["clip.mp4", "no sound"]),
    "less than a frame": ("speech.wav", lambda path: write_sound(path, hum(0.02), RATE), ["less than one frame"]),
}


@pytest.mark.parametrize("kind", BAD_SOUNDS)
def test_a_recording_that_holds_no_speech(animate, tmp_path, kind):
    name, make, words = BAD_SOUNDS[kind]
    make(tmp_path / name)
    before = set(tmp_path.iterdir())
    assert refused(animate(speech=tmp_path / name), *words)
    assert set(tmp_path.iterdir()) == before


BAD_OUTPUTS = {
    "no such folder": ("absent/out.mp4", ["absent", "does not exist"]),
    "a file as folder": ("taken.mp4/out.mp4", ["taken.mp4", "out.mp4"]),
    "exists": ("taken.mp4", ["taken.mp4", "exists already"]),
    "a folder": ("folder.mp4", ["folder.mp4", "is a folder"]),
    "no mp4": ("out.avi", ["out.avi", ".mp4"]),
    "not writable": ("/proc/out.mp4", ["/proc/out.mp4"]),
}


@pytest.mark.parametrize("kind", BAD_OUTPUTS)
def test_an_output_that_cannot_be(animate, tmp_path, kind):
    name, words = BAD_OUTPUTS[kind]
    (tmp_path / "taken.mp4").write_text("precious")
    (tmp_path / "folder.mp4").mkdir()
    assert refused(animate(output=tmp_path / name), *words)
    assert {path.name for path in tmp_path.iterdir()} == {"taken.mp4", "folder.mp4"}
    assert (tmp_path / "taken.mp4").read_text() == "precious"


BAD_FLAGS = [
    ("--fps", "fast"),
    ("--fps", "1000"),
    ("--fps", "25/0"),
    ("--size", "10"),
    ("--size", "big"),
    ("--seed", "1.5"),
    ("--framing", "half"),
    ("--pose-scale", "nan"),
    ("--yaw", "90"),
    ("--blinks", "often"),
    ("--device", "tpu"),
    ("--face", "2"),
    ("--draw-steps", "0"),
    ("--draw-steps", "2.5"),
    ("--guidance", "11"),
    ("--guidance", "nan"),
]


@pytest.mark.parametrize(("flag", "value"), BAD_FLAGS)
def test_a_flag_without_sense(animate, tmp_path, flag, value):
    assert refused(animate(flag, value), flag.strip("-"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("flag", "name"), [("--draw-steps", "draw_steps"), ("--guidance", "guidance")])
def test_the_mesh_renderer_does_not_denoise(animate, tmp_path, flag, name):
    assert refused(animate(flag, "2"), f"{name} belongs to refined frames", "renderer mesh", f"({flag})")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--pose", "--save-motion"])
@pytest.mark.parametrize("name", ["absent/motion.mp4", "absent/motion.safetensors"])
def test_a_file_that_is_not_there(animate, tmp_path, flag, name):
    assert refused(animate(flag, tmp_path / name), str(tmp_path / "absent"))
    assert not list(tmp_path.iterdir())


def test_a_motion_that_cannot_be_written(animate, tmp_path):
    assert refused(animate("--save-motion", "/proc/motion.safetensors"), "/proc/motion.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv", [["animate"], ["animate", "a.jpg", "b.wav"], ["sing"], ["--loud"], ["train", "opera"]])
def test_a_command_without_sense(kptalk, argv):
    assert refused(kptalk(*argv))


def test_videos_that_all_are_useless_are_bad_input(kptalk, inputs, tmp_path):
    status, out, err = kptalk("prepare", inputs / "face.png", "-o", tmp_path / "dataset")
    assert (status, err) == (2, "")
    assert "left out face: " in out
    assert "face.png is not a recording" in out


def test_datasets_that_cannot_be_written(kptalk, inputs, tmp_path):
    (tmp_path / "taken").touch()
    assert refused(kptalk("prepare", inputs / "face.png", "-o", tmp_path / "taken"), str(tmp_path / "taken"))


def test_unknown_weights_are_no_bad_input(kptalk, inputs, tmp_path):
    result = kptalk(
        "animate", inputs / "face.png", inputs / "speech.wav", "-o", tmp_path / "out.mp4", "--model", tmp_path
    )
    assert refused(result, "model.json", str(tmp_path), code=1)


def test_a_missing_system_library_is_explained(animate, monkeypatch):
    def fail(*_):
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("kptalk.pipeline.Pipeline.from_pretrained", fail)
    assert refused(animate(), "libGL", "opencv-python-headless", code=1)


def test_without_arguments_the_help_is_shown(kptalk):
    status, out, err = kptalk()
    assert (status, err) == (2, "")
    assert "animate" in out


@pytest.mark.parametrize("command", ["animate", "batch", "reenact", "evaluate"])
def test_arguments_come_before_options(command):
    commands = typer.main.get_command(app).commands
    kinds = [each.param_type_name for each in commands[command].get_params(typer.Context(commands[command]))]
    assert kinds == sorted(kinds)


def test_version(kptalk):

    assert kptalk("--version") == (0, f"{__version__}\n", "")


def test_as_a_module():
    run = subprocess.run([sys.executable, "-m", "kptalk", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == __version__


def two_faces(path):
    photo = data.astronaut()
    smaller = Image.fromarray(photo).resize((384, 384))
    both = Image.new("RGB", (900, 512))
    both.paste(smaller, (0, 64))
    both.paste(Image.fromarray(photo), (388, 0))
    both.save(path)


@pytest.mark.slow
def test_of_several_faces_the_largest_speaks_with_a_warning(animate, tmp_path):
    two_faces(tmp_path / "both.png")
    status, out, err = animate(portrait=tmp_path / "both.png")
    assert status == 0
    assert str(tmp_path / "out.mp4") in out
    assert len(err.splitlines()) == 1
    assert err.startswith("kptalk: warning: 2 faces found")
    assert "using the largest" in err
    status, _, err = animate("--face", "1", "--overwrite", "--quiet", portrait=tmp_path / "both.png")
    assert (status, err) == (0, "")
    assert refused(animate("--face", "3", "--overwrite", portrait=tmp_path / "both.png"), "face 3", "2 found")


def float_wave(path, samples):
    return write_sound(path, samples, RATE, codec="pcm_f32le")


def broken_numbers(path):
    samples = hum(0.4)
    samples[:, 1000:2000], samples[:, 3000:3100] = np.nan, np.inf
    float_wave(path, samples)


def cut_short(path):
    write_sound(path, hum(0.8), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def talking_video(path):
    write_clip(path, np.zeros((10, 64, 64, 3), np.uint8), 25, hum(0.4), RATE)


ODD_SOUNDS = {
    "NaN samples": ("speech.wav", broken_numbers),
    "cut short": ("speech.wav", cut_short),
    "a video's sound": ("clip.mp4", talking_video),
    "silence": ("speech.wav", lambda path: write_sound(path, 0 * hum(0.4), RATE)),
    "one frame": ("speech.wav", lambda path: write_sound(path, hum(0.05), RATE)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD_SOUNDS)
def test_an_odd_recording_works(animate, tmp_path, kind):
    name, make = ODD_SOUNDS[kind]
    make(tmp_path / name)
    status, out, err = animate(speech=tmp_path / name)
    said = "kptalk: warning: no sound at all in the recording: the mouth stays shut\n"
    assert (status, err) == (0, said if kind == "silence" else "")
    assert out.startswith(f"{tmp_path / 'out.mp4'}  (")
    assert out.count("\n") == 1
    parts, whole = out.split(" with motion ")[0], re.search(r"([\d.]+) s in all", out)
    assert sum(map(float, re.findall(r"([\d.]+) s", parts))) == pytest.approx(float(whole[1]), abs=0.3)
    clip = probe(tmp_path / "out.mp4")
    assert clip.has_audio
    assert clip.size == (512, 512)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["My Face é", "脸 😀 [bold]", "-o", "50% 'quoted' $HOME; :smile:"])
def test_any_name_works(animate, inputs, tmp_path, name, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    portrait, speech, output = (folder / f"{name}{suffix}" for suffix in (".png", ".wav", ".mp4"))
    portrait.write_bytes((inputs / "face.png").read_bytes())
    speech.write_bytes((inputs / "speech.wav").read_bytes())
    status, out, err = animate(portrait=portrait, speech=speech, output=output)
    assert (status, err) == (0, "")
    assert str(output) in out
    assert set(folder.iterdir()) == {portrait, speech, output}
    portrait.unlink()
    assert refused(animate("--overwrite", portrait=portrait, speech=speech, output=output), str(portrait))


@pytest.mark.slow
def test_all_flags_together(animate, tmp_path):
    flags = "--steps 3 --seed 5 --fps 29.97 --size 128 --framing crop --face 1 --pose still --pose-scale 0.5 --yaw 5"
    flags += (
        " --pitch -3 --roll 2 --mouth-scale 1.2 --expression-scale 0.8 --blinks 10 --device cpu --overwrite --quiet"
    )
    motion = tmp_path / "motion.safetensors"
    assert animate(*flags.split(), "--save-motion", motion) == (0, "", "")
    clip = probe(tmp_path / "out.mp4")
    assert (str(clip.fps), clip.size) == ("30000/1001", (128, 128))
    assert len(Motion.load(motion)) == 12
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert json.loads(container.metadata["description"])["seed"] == 5
    assert animate("--pose", motion, "--overwrite", "--quiet") == (0, "", "")


@pytest.mark.slow
def test_no_face_by_the_real_program(inputs, tmp_path):
    """In a process of its own, whose native libraries also write when they start and end."""
    grey(tmp_path / "grey.png")
    done = subprocess.run(
        [program(), "animate", tmp_path / "grey.png", inputs / "speech.wav", "-o", tmp_path / "out.mp4"],
        capture_output=True,
        text=True,
    )
    assert refused((done.returncode, done.stdout, done.stderr), "no human face")


def program():
    return str(Path(sys.executable).with_name("kptalk"))


@pytest.fixture(scope="session")
def minute(tmp_path_factory):
    """A minute of sound: long enough to be stopped in the middle."""
    path = tmp_path_factory.mktemp("minute") / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((hum(60)[0] * 32767).astype("<i2").tobytes())
    return path


def test_ctrl_c_names_a_playable_file(inputs, minute, tmp_path):
    output = tmp_path / "out.mp4"
    argv = [program(), "animate", inputs / "face.png", minute, "-o", output, "--size", "256"]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    partial = partial_path(output)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 100_000):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert err == f"kptalk: stopped: partial video kept in {partial}\n"
    assert not output.exists()
    assert probe(partial).duration >= 1


def test_ctrl_c_before_the_first_frame(animate, tmp_path, monkeypatch):
    def stop(*_):
        raise Stopped

    monkeypatch.setattr("kptalk.pipeline.Pipeline.from_pretrained", stop)
    assert animate() == (130, "", "kptalk: stopped: nothing was written\n")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_names_the_temporary_file(inputs, minute, tmp_path):
    output = tmp_path / "out.mp4"
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
    limited += "from kptalk.cli import main; main()"
    argv = [sys.executable, "-c", limited, "animate", inputs / "face.png", minute, "-o", output]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert refused((done.returncode, done.stdout, done.stderr), str(output), str(partial_path(output)))
    assert not output.exists()
    assert probe(partial_path(output)).size == (512, 512)
