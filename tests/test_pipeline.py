"""The whole system with small stand-ins for the models: counts, lengths, seeds, errors, memory, interruption."""

import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from fakes import FakeDenoiser, FakeEncoder, close, fake_pipeline, in_both_spaces, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st
from media_shared import picture
from speaking import count, hum, speech, streams

from kptalk.errors import AudioError, FaceNotFound, MotionError
from kptalk.media.audio import Speech
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.options import Control, Options
from kptalk.types import Motion

NTSC = Fraction(30000, 1001)
RATES = [Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(60)]


@pytest.mark.parametrize(
    ("samples", "fps"), [(700, Fraction(24)), (16_001, Fraction(25)), (41_117, NTSC), (71_680, Fraction(60))]
)
def test_frame_counts(pipeline, portrait, samples, fps):
    animation = pipeline.animate(portrait, speech(samples), options=Options(fps=fps))
    assert count(animation) == math.ceil(samples * fps / 16_000)


@settings(deadline=None, max_examples=40)
@given(
    samples=st.integers(1, 90_000),
    fps=st.sampled_from(RATES),
    control=st.sampled_from([Control(), Control(ease_in_out=False)]),
)
def test_frame_counts_of_any_length(space, portrait, samples, fps, control):
    animation = fake_pipeline(space).animate(portrait, speech(samples), options=Options(fps=fps, control=control))
    if samples * fps < 16_000:
        with pytest.raises(AudioError, match="less than one frame"):
            count(animation)
    else:
        assert sum(map(len, animation.motion())) == math.ceil(samples * fps / 16_000)


@in_both_spaces
def test_motion_is_the_same_at_every_rate(pipeline, portrait):
    """At 50 fps every second frame is one of those at 25."""
    at25, at50 = (
        Motion.concatenate(list(pipeline.animate(portrait, speech(64_000), options=Options(fps=Fraction(f))).motion()))
        for f in (25, 50)
    )
    assert close(at50[::2], at25, 1e-3)


@pytest.mark.parametrize("fps", RATES)
def test_picture_and_sound_are_of_one_length(pipeline, portrait, tmp_path, fps):
    path = pipeline.animate(portrait, speech(46_123, 44_100), options=Options(fps=fps)).save(tmp_path / "out.mp4")
    frames, pictures, sound, _ = streams(path)
    assert frames == math.ceil(math.ceil(46_123 * 16_000 / 44_100) * fps / 16_000)
    assert abs(sound - pictures) <= 1024 / 44_100  # AAC frames are whole
    assert 0 <= pictures - Fraction(46_123, 44_100) < 1 / fps


@pytest.mark.parametrize(("samples", "fps"), [(639, 25), (15_999, 1)])
def test_speech_shorter_than_a_frame(pipeline, portrait, tmp_path, samples, fps):
    animation = pipeline.animate(portrait, speech(samples), options=Options(fps=Fraction(fps)))
    with pytest.raises(AudioError, match="less than one frame"):
        animation.save(tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


@in_both_spaces
def test_same_seed_same_bytes_and_another_seed_another_motion(pipeline, portrait, tmp_path):
    def made(name, seed):
        options = Options(seed=seed)
        saved = tmp_path / f"{name}.safetensors"
        path = pipeline.animate(portrait, speech(60_000), options=options).save(
            tmp_path / f"{name}.mp4", save_motion=saved
        )
        return path.read_bytes(), Motion.load(saved)

    (first, motion), (again, _), (other, other_motion) = made("a", 7), made("b", 7), made("c", 8)
    assert first == again
    assert first != other
    assert np.abs(motion.rotation - other_motion.rotation).mean() > 0.1


@in_both_spaces
def test_saved_motion_is_what_was_drawn(space, pipeline, portrait, tmp_path):
    options = Options(fps=Fraction(30))
    animation = pipeline.animate(portrait, speech(32_000), options=options)
    animation.save(tmp_path / "out.mp4", save_motion=tmp_path / "motion.safetensors")
    motion = Motion.load(tmp_path / "motion.safetensors")
    assert (motion.fps, motion.space, len(motion)) == (30, space.id, 60)
    assert close(motion, Motion.concatenate(list(animation.motion())), 2e-4)  # landmarks are stored as float16


@in_both_spaces
def test_the_file_says_that_it_is_synthetic(space, pipeline, portrait, tmp_path):
    path = pipeline.animate(portrait, speech(8000), options=Options(seed=41)).save(tmp_path / "out.mp4")
    tags = streams(path)[3]
    told = " ".join(tags.values())
    for word in ("Synthetic", "AI-generated", "kptalk", '"seed": 41', f'"method": "{space.id}"', '"synthetic": true'):
        assert word in told


@in_both_spaces
def test_times_and_progress_are_told(pipeline, portrait, tmp_path):
    told = []
    animation = pipeline.animate(portrait, speech(48_000))
    animation.save(tmp_path / "out.mp4", on_progress=lambda *row: told.append(row))
    assert list(animation.seconds) == ["portrait", "motion", "drawing", "encoding"]
    assert all(value >= 0 for value in animation.seconds.values())
    for stage in ("motion", "drawing", "encoding"):
        rows = [row for row in told if row[0] == stage]
        assert [row[1] for row in rows] == sorted(row[1] for row in rows)
        assert rows[-1][1:] == (75, 75)


def test_stream_yields_single_frames_before_the_speech_has_ended(pipeline, portrait):
    heard = 0

    def blocks():
        nonlocal heard
        for _ in range(60):
            heard += 1
            yield hum(16_000)[None]

    endless = Speech("generator", blocks, 16_000, "mono", None)
    frames = list(itertools.islice(pipeline.stream(portrait, endless), 30))
    assert heard < 6
    assert {frame.shape for frame in frames} == {portrait.image.shape}


def test_first_frame_of_the_full_picture_is_the_photo(pipeline, portrait):
    first = next(pipeline.stream(portrait, speech(16_000)))
    assert np.array_equal(first[2:], portrait.image[2:])


@pytest.mark.parametrize(("options", "size"), [({}, 128), ({"size": 64}, 64), ({"framing": "crop"}, 512)])
def test_size_and_output(pipeline, portrait, options, size):
    animation = pipeline.animate(portrait, speech(8000), options=Options(**options))
    assert animation.size == (size, size)
    assert next(animation.frames()).shape[1:] == (size, size, 3)


def test_a_turned_photo_is_shown_upright(pipeline, portrait):
    upright = picture("astronaut")
    photo = np.ascontiguousarray(upright[::-1, ::-1])
    with pytest.warns(UserWarning, match="turned by 180 degrees: turned upright"):
        animation = pipeline.animate(photo, speech(8000))
    assert np.array_equal(animation.framing.photo, upright)
    for job in ({"options": Options(rotate="no")}, {"rotate": "no"}):
        with pytest.raises(FaceNotFound, match="turned by 180 degrees"):
            pipeline.animate(photo, speech(8000), **job)


@in_both_spaces
@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(space, portrait):
    """Ten minutes of sound that is never held, drawn in pieces that are thrown away."""

    def peak(minutes):
        def blocks():
            for _ in range(60 * minutes):
                yield hum(16_000)[None]

        long = Speech("generator", blocks, 16_000, "mono", Fraction(60 * minutes))
        pipeline = fake_pipeline(space)
        pipeline.method.generator.encoder.seen = Forgetful()
        pipeline.method.renderer.drawn = Forgetful()
        tracemalloc.start()
        total = sum(map(len, pipeline.animate(portrait, long).frames()))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == 1500 * minutes
        return top

    peak(1)  # whatever is loaded on first use
    assert peak(4) < 1.1 * peak(1)


class Forgetful(list):
    """Where the stand-ins would remember what they saw."""

    def append(self, _):
        pass


def test_pieces_to_draw_are_small(pipeline, portrait):
    count(pipeline.animate(portrait, speech(160_000)))
    assert max(pipeline.method.renderer.drawn) <= 8


@pytest.mark.parametrize(("size", "most"), [(2000, 3), (4096, 1)])
def test_pieces_of_large_frames_are_smaller(pipeline, portrait, size, most):
    assert count(pipeline.animate(portrait, speech(3200), options=Options(size=size))) == 5
    assert max(pipeline.method.renderer.drawn) == most


def test_picture_without_a_face(pipeline):
    with pytest.raises(FaceNotFound):
        pipeline.animate(np.full((200, 200, 3), 90, np.uint8), speech(16_000))


RATES_AS_WRITTEN = [(30, "30"), (29.97, "30000/1001"), (30000 / 1001, "30000/1001"), (Fraction("29.123456789"), None)]


@pytest.mark.parametrize(("fps", "kept"), RATES_AS_WRITTEN)
def test_any_number_is_a_frame_rate(pipeline, portrait, tmp_path, fps, kept):
    options = Options(fps=fps)
    assert kept in (str(options.fps), None)
    fps = options.fps
    path = pipeline.animate(portrait, speech(16_000), options=options).save(tmp_path / "out.mp4")
    frames, pictures, _, _ = streams(path)
    assert frames == math.ceil(fps)
    assert pictures == pytest.approx(frames / float(fps), rel=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_every_seed_works(pipeline, portrait, seed):
    assert count(pipeline.animate(portrait, speech(8000), options=Options(seed=seed))) == 13


@in_both_spaces
def test_steps_reach_the_denoiser(space, portrait):
    for steps in (1, 3):
        pipeline, calls = fake_pipeline(space), []
        forward = pipeline.method.generator.denoiser.forward
        pipeline.method.generator.denoiser.forward = lambda *a, calls=calls, forward=forward: (
            calls.append(1) or forward(*a)
        )
        count(pipeline.animate(portrait, speech(16_000), options=Options(steps=steps)))
        assert len(calls) % steps == 0
        assert 0 < len(calls) <= 4 * steps


@in_both_spaces
def test_pose_of_a_motion_file(pipeline, portrait, tmp_path, space):
    driver = random_motion(60, 4, Fraction(30), space=space.id)
    driver.save(tmp_path / "driver.safetensors")
    pose = pipeline.read_pose(tmp_path / "driver.safetensors")
    options = Options(fps=Fraction(30), control=Control(pose=pose, ease_in_out=False))
    motion = Motion.concatenate(list(pipeline.animate(portrait, speech(24_000), options=options).motion()))
    turned, wanted = motion.rotation - motion.rotation[0], driver.rotation - driver.rotation[0]
    assert np.allclose(turned[:40:6], wanted[:40:6], atol=1e-3)  # every sixth frame is also one at 25 fps


@in_both_spaces
def test_pose_of_another_space_is_refused(pipeline, tmp_path, space):
    random_motion(5, space="liveportrait").save(tmp_path / "driver.safetensors")
    with pytest.raises(MotionError, match=f"'liveportrait'.*'{space.id}'"):
        pipeline.read_pose(tmp_path / "driver.safetensors")


def test_absent_pose_is_refused(pipeline, tmp_path):
    with pytest.raises(MotionError):
        pipeline.read_pose(tmp_path / "absent.safetensors")


def test_stand_ins_have_the_shapes_of_the_models():
    import torch

    windows = torch.zeros(3, 80, 16)
    assert FakeEncoder()(windows).shape == AudioEncoder()(windows).shape
    x, t, audio = torch.zeros(2, 66, 70), torch.zeros(2, dtype=torch.long), torch.zeros(2, 66, 512)
    small = Denoiser(DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, rotary_dim=8))
    assert FakeDenoiser()(x, t, audio).shape == small(x, t, audio).shape
