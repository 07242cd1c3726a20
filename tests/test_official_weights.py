"""The official weights in the product: a complete set by the weight rule, from the command line to the video.

With such weights a picture is noise, but where it lies, what drives it and what is refused is not.
"""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from commands import refused
from fakes import random_motion
from PIL import Image
from recordings import tone, write_clip, write_sound
from skimage import data
from videos import talking, write_video

from kptalk.errors import MotionError
from kptalk.face.alignment import mask
from kptalk.face.find import find_portrait
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.motion.liveportrait.regions import LIPS
from kptalk.motion.retarget import RetargetOptions
from kptalk.options import Control, Options, ReenactOptions
from kptalk.pipeline import Pipeline
from kptalk.train.dataset import Dataset
from kptalk.types import Motion
from kptalk.weights.registry import weights_folder

pytestmark = pytest.mark.xdist_group("official")  # whose tests share 1.7 GB of converted weights
RATE = 16_000
FEW = Fraction(2)  # frames a second: drawing one takes a second


@pytest.fixture
def home(converted, monkeypatch):
    monkeypatch.setenv("KPTALK_HOME", str(converted.home))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A photo, a recording of 0.4 s, a driving video of 6 frames, motion files of both spaces."""
    folder = tmp_path_factory.mktemp("inputs")
    photo = data.astronaut()
    Image.fromarray(photo).save(folder / "face.png")
    write_sound(folder / "speech.wav", tone(RATE, 0.4), RATE)
    head = photo[:320, 60:380]
    write_clip(folder / "driver.mp4", np.stack([np.roll(head, 4 * k, 1) for k in range(6)]), 25)
    random_motion(12, 2, space="facemesh").save(folder / "facemesh.safetensors")
    return folder


@pytest.fixture(scope="module")
def pipeline(converted):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPTALK_HOME", str(converted.home))
        return Pipeline.from_pretrained("official", "cpu")


@pytest.fixture(scope="module")
def portrait(pipeline, inputs):
    """The photo with its face, found once."""
    return find_portrait(data.astronaut())


def spoken(seconds=0.4):
    return Speech.from_samples(tone(RATE, seconds)[0], RATE)


def frames(animation):
    return np.concatenate(list(animation.frames()))


def motion(animation):
    return Motion.concatenate(list(animation.motion()))


def test_animate_from_the_command_line(kptalk, home, inputs, tmp_path):
    argv = ["animate", inputs / "face.png", inputs / "speech.wav", "-o", tmp_path / "out.mp4"]
    argv += ["--model", "official", "--device", "cpu"]
    status, out, err = kptalk(*argv, "--fps", "5", "--steps", "2", "--save-motion", tmp_path / "out.safetensors")
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'out.mp4'}  (loading")
    clip = probe(tmp_path / "out.mp4")
    assert (clip.fps, clip.size, clip.has_audio, float(clip.duration)) == (5, (512, 512), True, pytest.approx(0.4))
    saved = Motion.load(tmp_path / "out.safetensors")
    assert (len(saved), saved.space) == (2, "liveportrait")
    with av.open(str(tmp_path / "out.mp4")) as container:
        told = json.loads(container.metadata["description"])
    assert (told["renderer"], told["model"], told["method"]) == ("liveportrait", "official", "kdtalker")


def test_reenact_from_the_command_line(kptalk, home, inputs, tmp_path):
    """Takes the lips only; then the whole motion is taken to a file and plotted."""
    face, video, file = inputs / "face.png", tmp_path / "out.mp4", tmp_path / "own.safetensors"
    argv = ["reenact", face, inputs / "driver.mp4", "-o", video, "--model", "official", "--fps", "10", "--quiet"]
    argv += ["--framing", "crop", "--size", "128", "--region", "lips", "--save-motion", tmp_path / "lips.safetensors"]
    assert kptalk(*argv) == (0, "", "")
    clip = probe(video)
    assert (clip.fps, clip.size, clip.has_audio) == (10, (128, 128), False)
    lips = Motion.load(tmp_path / "lips.safetensors")
    moved = np.abs(lips.expression - lips.expression[:1]).max((0, 2)) > 0
    assert set(np.flatnonzero(moved)) == set(LIPS)
    assert np.array_equal(lips.rotation, np.repeat(lips.rotation[:1], len(lips), 0))

    assert kptalk("motion", "extract", inputs / "driver.mp4", "-o", file, "--model", "official", "--quiet")[0] == 0
    read = Motion.load(file)
    assert (len(read), read.fps, read.space) == (6, 25, "liveportrait")
    assert np.ptp(read.rotation) > 0
    assert kptalk("motion", "show", file, "-o", tmp_path / "own.png", "--quiet")[0] == 0
    assert (tmp_path / "own.png").stat().st_size > 10_000


def test_the_photo_is_untouched_outside_the_square(pipeline, portrait):
    animation = pipeline.animate(portrait, spoken(0.5), options=Options(fps=FEW, steps=1))
    made, framing = frames(animation), animation.framing
    assert made.shape == (1, 512, 512, 3)
    left, top, alpha = mask(framing.square, 512, 512)
    outside = np.ones((512, 512), bool)
    outside[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha == 0
    assert outside.mean() > 0.5
    assert (made[:, outside] == framing.photo[outside]).all()
    assert (made[:, ~outside] != framing.photo[~outside]).mean() > 0.5
    again = frames(pipeline.animate(portrait, spoken(0.5), options=Options(fps=FEW, steps=1)))
    assert np.array_equal(made, again)


def test_stitching_is_for_the_whole_photo_unless_asked(pipeline, portrait):
    def held(framing, stitch):
        """How many edges may not move: one is enough for the renderer to stitch."""
        return 4 - len(pipeline.method.framing(portrait, framing, None, stitch).free)

    assert [held("full", stitch) for stitch in (None, True, False)] == [4, 4, 0]
    assert [held("crop", stitch) for stitch in (None, True, False)] == [0, 4, 0]


def test_the_motion_is_kdtalkers(pipeline, portrait):
    """Fifty steps of diffusion, smoothed, at the size of the photo; the seed decides."""
    plain = Control(silence_gate=False, ease_in_out=False)
    animation = pipeline.animate(portrait, spoken(), options=Options(seed=3, control=plain))
    calls = []
    hook = pipeline.method.generator.denoiser.register_forward_hook(lambda *_: calls.append(1))
    made = motion(animation)
    hook.remove()
    assert len(calls) == 50
    assert len(made) == 10
    assert (made.scale == animation._session.source.motion.scale).all()
    few = [motion(pipeline.animate(portrait, spoken(), options=Options(seed=s, steps=2))) for s in (3, 3, 4)]
    assert np.array_equal(few[0].expression, few[1].expression)
    assert not np.array_equal(few[0].expression, few[2].expression)


def test_pose_of_a_video(pipeline, portrait, inputs):
    pose = pipeline.read_pose(inputs / "driver.mp4", Fraction(1, 10))
    assert (len(pose), pose.space) == (3, "liveportrait")
    control = Control(pose=pose, ease_in_out=False, blinks=0)
    made = motion(pipeline.animate(portrait, spoken(), options=Options(steps=1, control=control)))
    turned = made.rotation - made.rotation[:1]
    assert np.allclose(turned[:3], pose.rotation - pose.rotation[:1], atol=1e-3)


def test_a_motion_drives_as_it_is(pipeline, portrait):
    driver = random_motion(4, 2, space="liveportrait")
    options = ReenactOptions(retarget=RetargetOptions("absolute"), framing="crop")
    made = motion(pipeline.reenact(portrait, driver, options=options))
    assert np.array_equal(made.expression, driver.expression)
    assert np.array_equal(made.rotation, driver.rotation)


def test_motion_of_the_other_space_is_refused(pipeline, portrait, inputs):
    with pytest.raises(MotionError, match=r"'facemesh'.*'liveportrait'"):
        pipeline.reenact(portrait, Motion.load(inputs / "facemesh.safetensors"))
    with pytest.raises(MotionError, match=r"facemesh\.safetensors.*'liveportrait'"):
        pipeline.read_pose(inputs / "facemesh.safetensors")


@pytest.mark.parametrize("command", ["animate", "reenact"])
def test_the_mesh_renderer_does_not_stitch(kptalk, inputs, tmp_path, command):
    source = inputs / {"animate": "speech.wav", "reenact": "driver.mp4"}[command]
    argv = [command, inputs / "face.png", source, "-o", tmp_path / "out.mp4"]
    assert refused(kptalk(*argv, "--stitch"), "stitching", "liveportrait")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_datasets_hold_its_motion(kptalk, home, tmp_path):
    video = write_video(tmp_path / "a.mp4", *talking(seconds=1.6))
    code, out, errors = kptalk(
        "prepare", video, "-o", tmp_path / "set", "--model", "official", "--jobs", 1, "--min-sync", -1
    )
    assert code == 0, out + errors
    dataset = Dataset.open(tmp_path / "set")
    assert dataset.card["space"] == "liveportrait"
    (clip,) = dataset
    assert clip.motion.space == "liveportrait"
    assert clip.motion.expression.shape == (len(clip.landmarks), 21, 3)
    assert np.ptp(clip.motion.rotation, axis=0).min() > 0


def test_missing_weights_are_named_in_one_line_with_the_command(kptalk, converted, inputs, tmp_path, monkeypatch):
    argv = ["animate", inputs / "face.png", inputs / "speech.wav", "-o", tmp_path / "out.mp4", "--model", "official"]
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path / "home"))
    everything = kptalk(*argv)
    assert refused(everything, "missing official weights", "kptalk weights pull", "kptalk weights convert", code=1)
    assert all(name in everything[2] for name in ("warping", "decoder", "kdtalker_norm", "audio", "retargeting_eye"))
    folder = weights_folder()
    folder.mkdir(parents=True)
    for file in converted.home.rglob("*.safetensors"):
        if file.stem not in ("decoder", "kdtalker"):
            (folder / file.name).symlink_to(file)
    assert refused(kptalk(*argv), ": decoder, kdtalker: run", code=1)
    assert not (tmp_path / "out.mp4").exists()
