"""A portrait driven by another motion: with small stand-ins for the models, and once with a real clip."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import close, fake_generator, in_both_spaces, random_motion
from media_shared import CLIPS, clip_landmarks
from recordings import tone, write_clip, write_sound

from kptalk.errors import AudioError, FaceNotFound, ImageError, InputError, MotionError, OptionError
from kptalk.face import follow
from kptalk.face.geometry import rotation_angles
from kptalk.face.landmarks import FaceMesh
from kptalk.face.measures import lip_opening
from kptalk.media.audio import Speech
from kptalk.media.clip import probe, read_frames
from kptalk.methods import facemesh
from kptalk.motion.retarget import RetargetOptions
from kptalk.options import ReenactOptions
from kptalk.pipeline import Pipeline
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.types import Face, Motion

RATE = 16_000


@pytest.fixture
def video(space, portrait, tmp_path, monkeypatch):
    """Makes a tiny video in which the tracker sees the template's face nod; ``faces`` says in which frames."""

    def make(frames, fps=25, sound=None, faces=None):
        nod = random_motion(frames, 6, space=space.id)
        nod = nod.with_fields(expression=0 * nod.expression)
        meshes = iter(space.vertices(space.extract(portrait), nod))

        class Tracker:
            def __init__(self, *, video):
                self.frame, self.image = -1, None

            def __exit__(self, *_):
                pass

            def __call__(self, image):
                if image is not self.image:
                    self.frame, self.image, self.mesh = self.frame + 1, image, next(meshes)
                return Face(self.mesh) if faces is None or faces[self.frame] else None

        monkeypatch.setattr(follow, "FaceMesh", Tracker)
        path = tmp_path / "driver.mp4"
        write_clip(path, np.zeros((frames, 16, 16, 3), np.uint8), fps, sound, RATE)
        return path

    return make


def loudness(path):
    """Loudness of a file's sound in its first and second half."""
    sound = np.concatenate(list(Speech.open(path).chunks()))
    half = len(sound) // 2
    return np.abs(sound[:half]).mean(), np.abs(sound[half:]).mean()


@in_both_spaces
def test_a_video_drives_a_portrait_and_keeps_its_sound(space, pipeline, portrait, video, tmp_path):
    sound = tone(RATE, 2.0)
    sound[:, RATE:] *= 0.1
    driver = video(50, 25, sound)
    animation = pipeline.reenact(portrait, driver)
    path = animation.save(tmp_path / "out.mp4", save_motion=tmp_path / "motion.safetensors")
    clip = probe(path)
    assert (clip.fps, clip.duration, clip.has_audio) == (25, 2, True)
    loud, soft = loudness(path)
    assert loud > 5 * soft > 0.01
    motion = Motion.load(tmp_path / "motion.safetensors")
    assert len(motion) == 50
    assert np.abs(motion.rotation - motion.rotation[0]).max() > 1
    with av.open(str(path)) as container:
        told = json.loads(container.metadata["description"])
        assert "AI-generated" in container.metadata["comment"]
    assert told["synthetic"] is True
    assert (told["method"], told["mode"], told["region"]) == (space.id, "relative", "all")


@in_both_spaces
@pytest.mark.parametrize(("own", "wanted", "frames"), [(30, None, 45), (30, 25, 38), (24, Fraction(30000, 1001), 56)])
def test_frame_rates(pipeline, portrait, video, own, wanted, frames):
    animation = pipeline.reenact(portrait, video(45, own), options=ReenactOptions(fps=wanted and Fraction(wanted)))
    assert animation.fps == (wanted or own)
    assert sum(map(len, animation.frames())) == frames


def test_a_silent_video_gives_a_silent_video(pipeline, portrait, video, tmp_path):
    path = pipeline.reenact(portrait, video(10)).save(tmp_path / "out.mp4")
    assert not probe(path).has_audio


def test_sound_that_cannot_be_decoded_is_left_out_with_a_warning(pipeline, portrait, video, tmp_path, monkeypatch):
    def fail(path):
        raise AudioError(f"{path} has a sound stream, but no sample of it can be decoded")

    driver = video(10, 25, tone(RATE, 0.4))
    monkeypatch.setattr(Speech, "open", fail)
    with pytest.warns(UserWarning, match="silent"):
        path = pipeline.reenact(portrait, driver).save(tmp_path / "out.mp4")
    assert not probe(path).has_audio


def test_progress_knows_how_many_frames_there_are(pipeline, portrait, video, tmp_path):
    told = []
    pipeline.reenact(portrait, video(60)).save(tmp_path / "out.mp4", on_progress=lambda *row: told.append(row))
    for stage in ("motion", "drawing", "encoding"):
        assert [row for row in told if row[0] == stage][-1] == (stage, 60, 60)


@in_both_spaces
def test_a_video_without_a_face_leaves_nothing(pipeline, portrait, video, tmp_path):
    driver = video(10, faces=[False] * 10)
    with pytest.raises(FaceNotFound, match=r"driver\.mp4"):
        pipeline.reenact(portrait, driver).save(tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["driver.mp4"]


def test_missing_faces_are_warned_of(pipeline, portrait, video, tmp_path):
    driver = video(12, faces=[False] * 3 + [True] * 9)
    with pytest.warns(UserWarning, match="only 9 of 12 frames"):
        path = pipeline.reenact(portrait, driver).save(tmp_path / "out.mp4")
    assert len(list(read_frames(path))) == 12


@in_both_spaces
def test_an_interruption_leaves_what_was_done_under_a_temporary_name(pipeline, portrait, tmp_path, space):
    draw = pipeline.method.renderer.step

    def stopped(motion, state):
        if len(pipeline.method.renderer.drawn) > 10:
            raise KeyboardInterrupt
        return draw(motion, state)

    pipeline.method.renderer.step = stopped
    with pytest.raises(KeyboardInterrupt):
        pipeline.reenact(portrait, random_motion(300, space=space.id)).save(tmp_path / "out.mp4")
    (left,) = tmp_path.iterdir()
    assert left.name != "out.mp4"
    assert probe(left).duration > 1


@in_both_spaces
def test_a_motion_is_drawn_as_it_is_in_absolute_mode(pipeline, portrait, tmp_path, space):
    motion = random_motion(40, 2, Fraction(30), space=space.id)
    write_sound(tmp_path / "speech.wav", tone(RATE, 3.0), RATE)
    animation = pipeline.reenact(
        portrait,
        motion,
        tmp_path / "speech.wav",
        options=ReenactOptions(retarget=RetargetOptions("absolute"), framing="crop", size=64),
    )
    assert close(Motion.concatenate(list(animation.motion())), motion)
    assert animation.size == (64, 64)
    clip = probe(animation.save(tmp_path / "out.mp4"))
    assert (clip.fps, clip.has_audio, len(list(read_frames(tmp_path / "out.mp4")))) == (30, True, 40)


@in_both_spaces
def test_a_relative_motion_starts_from_the_portraits_own_pose(pipeline, portrait, space):
    motion = random_motion(20, 2, space=space.id)
    made = Motion.concatenate(list(pipeline.reenact(portrait, motion).motion()))
    own = pipeline.method.space.extract(portrait).motion
    assert np.allclose(made.rotation[0], own.rotation[0], atol=1e-3)
    assert np.allclose(made.scale[0], own.scale[0], atol=1e-5)


def test_a_motion_at_another_rate(pipeline, portrait):
    animation = pipeline.reenact(portrait, random_motion(31, 2, Fraction(30)), options=ReenactOptions(fps=Fraction(60)))
    assert (animation.fps, sum(map(len, animation.frames()))) == (60, 61)


@in_both_spaces
def test_a_motion_of_another_space_is_refused(pipeline, portrait, space):
    with pytest.raises(MotionError, match=f"'liveportrait'.*'{space.id}'"):
        pipeline.reenact(portrait, random_motion(5, space="liveportrait"))


def test_what_cannot_drive_or_be_driven(pipeline, portrait, tmp_path):
    with pytest.raises(InputError, match=r"absent\.mp4"):
        pipeline.reenact(portrait, tmp_path / "absent.mp4")
    with pytest.raises(ImageError):
        pipeline.reenact(np.zeros((8, 8), np.uint8), random_motion(5))
    with pytest.raises(AudioError):
        pipeline.reenact(portrait, random_motion(5), tmp_path / "absent.wav")


@pytest.mark.parametrize(
    "bad", [{"fps": Fraction(0)}, {"fps": Fraction(500)}, {"size": 5}, {"framing": "half"}], ids=str
)
def test_options_that_make_no_sense(bad):
    (name,) = bad
    with pytest.raises(OptionError, match=f"{name} is .*: give"):
        ReenactOptions(**bad)


@pytest.mark.slow
def test_the_first_frame_of_a_clip_follows_the_clip(space):
    """Judged by FaceMesh: three seconds of a real clip, drawn by the real renderer."""
    path = CLIPS / "grid_flbbc_1.mp4"
    pictures, real = np.stack(list(read_frames(path))), clip_landmarks(path, 3)
    pipeline = Pipeline(facemesh.method(fake_generator(space), MeshRenderer(space)), "embedded", "facemesh")
    frames = np.concatenate(list(pipeline.reenact(pictures[0], path).frames()))
    assert frames.shape == pictures.shape
    with FaceMesh(video=True) as mesh:
        drawn = np.stack([mesh(frame).landmarks for frame in frames])
    assert np.corrcoef(lip_opening(real), lip_opening(drawn))[0, 1] > 0.95
    turned = [rotation_angles(space.pose(landmarks)[1]) for landmarks in (real, drawn)]
    assert np.abs(turned[0] - turned[1]).mean() < 1.0
    assert np.abs(frames[0].astype(int) - pictures[0]).mean() < 4
