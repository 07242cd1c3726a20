"""The whole system with small stand-ins for the models: counts, lengths, seeds, errors, memory, interruption."""

import itertools
import math
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import FakeDenoiser, FakeEncoder, close, facemesh_space, fake_pipeline, plain_portrait, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st

from kptalk.errors import AudioError, FaceNotFound, ImageError, MotionError, OptionError, OutputError, WeightsError
from kptalk.media.audio import Speech
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.options import Control, Options
from kptalk.pipeline import Pipeline
from kptalk.types import Motion
from kptalk.weights.model import facemesh_card, write_model_json
from kptalk.weights.store import embedded_path, save_model

NTSC = Fraction(30000, 1001)
RATES = [Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(60)]


@pytest.fixture(scope="module")
def space():
    return facemesh_space()


@pytest.fixture
def pipeline(space):
    return fake_pipeline(space)


@pytest.fixture(scope="module")
def portrait(space):
    return plain_portrait(space)


def hum(samples, rate=16_000):
    """A voice that swells and fades four times a second."""
    t = np.arange(samples) / rate
    return (0.3 * np.sin(2 * np.pi * 140 * t) * (1 + np.sin(8 * np.pi * t)) / 2).astype(np.float32)


def speech(samples, rate=16_000):
    return Speech.from_samples(hum(samples, rate), rate)


def count(animation):
    return sum(map(len, animation.frames()))


def streams(path):
    """Pictures' number and seconds, sound's seconds, and the file's tags."""
    with av.open(str(path)) as container:
        pictures = [frame.time for frame in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
        tags = dict(container.metadata)
    with av.open(str(path)) as container:
        sound = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    return len(pictures), len(pictures) / rate, sound, tags


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


def test_saved_motion_is_what_was_drawn(pipeline, portrait, tmp_path):
    options = Options(fps=Fraction(30))
    animation = pipeline.animate(portrait, speech(32_000), options=options)
    animation.save(tmp_path / "out.mp4", save_motion=tmp_path / "motion.safetensors")
    motion = Motion.load(tmp_path / "motion.safetensors")
    assert (motion.fps, motion.space, len(motion)) == (30, "facemesh", 60)
    assert close(motion, Motion.concatenate(list(animation.motion())))


def test_the_file_says_that_it_is_synthetic(pipeline, portrait, tmp_path):
    path = pipeline.animate(portrait, speech(8000), options=Options(seed=41)).save(tmp_path / "out.mp4")
    tags = streams(path)[3]
    told = " ".join(tags.values())
    for word in ("Synthetic", "AI-generated", "kptalk", '"seed": 41', '"method": "facemesh"', '"synthetic": true'):
        assert word in told


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


class Interrupted:
    """A renderer that is stopped in the middle of the work."""

    def __init__(self, renderer, after, error):
        self.renderer, self.after, self.error = renderer, after, error

    def __getattr__(self, name):
        return getattr(self.renderer, name)

    def step(self, motion, state):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return self.renderer.step(motion, state)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken")])
def test_interruption_leaves_what_was_done_under_a_temporary_name(pipeline, portrait, tmp_path, error):
    pipeline.method = replace(pipeline.method, renderer=Interrupted(pipeline.method.renderer, 12, error))
    with pytest.raises(type(error)):
        pipeline.animate(portrait, speech(160_000)).save(tmp_path / "out.mp4")
    (left,) = tmp_path.iterdir()
    assert left.name != "out.mp4"
    with av.open(str(left)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 25


def test_error_of_the_encoder_is_told(pipeline, portrait, tmp_path, monkeypatch):
    def fail(self, frames):
        raise OutputError("disk full")

    monkeypatch.setattr("kptalk.media.encoder.VideoWriter.write", fail)
    with pytest.raises(OutputError, match="disk full"):
        pipeline.animate(portrait, speech(160_000)).save(tmp_path / "out.mp4")


@pytest.mark.parametrize("name", ["nowhere/out.mp4", "out.avi"])
def test_outputs_that_cannot_be_are_refused_before_any_work(pipeline, portrait, tmp_path, name):
    animation = pipeline.animate(portrait, speech(16_000))
    with pytest.raises(OutputError):
        animation.save(tmp_path / name)
    assert not pipeline.method.renderer.drawn


def test_motion_that_cannot_be_saved_is_refused_before_any_work(pipeline, portrait, tmp_path):
    animation = pipeline.animate(portrait, speech(16_000))
    with pytest.raises(OutputError, match="nowhere"):
        animation.save(tmp_path / "out.mp4", save_motion=tmp_path / "nowhere" / "motion.safetensors")
    assert not pipeline.method.renderer.drawn


@pytest.mark.parametrize("name", ["photo.png", "old.safetensors"])
def test_a_motion_never_replaces_another_file_unasked(pipeline, portrait, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(OutputError, match=name):
        pipeline.animate(portrait, speech(16_000)).save(tmp_path / "out.mp4", save_motion=tmp_path / name)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
    assert not pipeline.method.renderer.drawn


def test_an_old_motion_is_replaced_where_told(pipeline, portrait, tmp_path):
    saved = tmp_path / "old.safetensors"
    saved.write_bytes(b"mine")
    pipeline.animate(portrait, speech(16_000)).save(tmp_path / "out.mp4", save_motion=saved, overwrite=True)
    assert len(Motion.load(saved)) == 25


def test_existing_output_is_kept_unless_told(pipeline, portrait, tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        pipeline.animate(portrait, speech(16_000)).save(path)
    assert path.read_bytes() == b"mine"
    pipeline.animate(portrait, speech(16_000)).save(path, overwrite=True)
    assert streams(path)[0] == 25


BAD_ARRAYS = [
    np.zeros((64, 64), np.uint8),
    np.zeros((64, 64, 4), np.uint8),
    np.zeros((64, 64, 3), np.float32),
    np.zeros((0, 64, 3), np.uint8),
]


@pytest.mark.parametrize("array", BAD_ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_that_are_no_pictures(pipeline, array):
    with pytest.raises(ImageError, match="uint8 RGB"):
        pipeline.animate(array, speech(16_000))


def test_picture_without_a_face(pipeline):
    with pytest.raises(FaceNotFound):
        pipeline.animate(np.full((200, 200, 3), 90, np.uint8), speech(16_000))


RATES_AS_WRITTEN = [(30, "30"), (29.97, "2997/100"), (30000 / 1001, "30000/1001"), (Fraction("29.123456789"), None)]


@pytest.mark.parametrize(("fps", "kept"), RATES_AS_WRITTEN)
def test_any_number_is_a_frame_rate(pipeline, portrait, tmp_path, fps, kept):
    options = Options(fps=fps)
    assert kept in (str(options.fps), None)
    path = pipeline.animate(portrait, speech(16_000), options=options).save(tmp_path / "out.mp4")
    frames, pictures, _, _ = streams(path)
    assert frames == math.ceil(fps)
    assert pictures == pytest.approx(frames / float(fps), rel=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_every_seed_works(pipeline, portrait, seed):
    assert count(pipeline.animate(portrait, speech(8000), options=Options(seed=seed))) == 13


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


def test_pose_of_a_motion_file(pipeline, portrait, tmp_path):
    driver = random_motion(60, 4, Fraction(30))
    driver.save(tmp_path / "driver.safetensors")
    pose = pipeline.read_pose(tmp_path / "driver.safetensors")
    options = Options(fps=Fraction(30), control=Control(pose=pose, ease_in_out=False))
    motion = Motion.concatenate(list(pipeline.animate(portrait, speech(24_000), options=options).motion()))
    turned, wanted = motion.rotation - motion.rotation[0], driver.rotation - driver.rotation[0]
    assert np.allclose(turned[:40:6], wanted[:40:6], atol=1e-3)  # every sixth frame is also one at 25 fps


def test_pose_of_another_space_is_refused(pipeline, tmp_path):
    random_motion(5, space="liveportrait").save(tmp_path / "driver.safetensors")
    with pytest.raises(MotionError, match=r"'liveportrait'.*'facemesh'"):
        pipeline.read_pose(tmp_path / "driver.safetensors")


def test_absent_pose_is_refused(pipeline, tmp_path):
    with pytest.raises(MotionError):
        pipeline.read_pose(tmp_path / "absent.safetensors")


@pytest.fixture
def weights(tmp_path):
    """A model folder as ``kptalk train`` leaves it, of small untrained networks."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    prior = "[" + ", ".join(["-1.5"] * 80) + "]"
    save_model(
        folder / "audio.safetensors", AudioEncoder(), AudioEncoderConfig(), {"speech_mel_mean": prior}, half=True
    )
    config = DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, rotary_dim=8)
    save_model(folder / "motion.safetensors", Denoiser(config), config, {"sampler": '{"steps": 2}'}, half=True)
    write_model_json(folder, facemesh_card())
    return folder


def test_weights_of_a_folder(weights, portrait):
    pipeline = Pipeline.from_pretrained(weights, "cpu")
    assert pipeline.method.generator.config.steps == 2
    motion = Motion.concatenate(list(pipeline.animate(portrait, speech(16_000)).motion()))
    assert len(motion) == 25


@pytest.mark.parametrize("name", ["facemesh", "audio", "motion"])
def test_a_missing_network_is_named(weights, name):
    (weights / f"{name}.safetensors").unlink()
    with pytest.raises(WeightsError, match=rf"missing weights: .*{name}\.safetensors"):
        Pipeline.from_pretrained(weights)


@pytest.mark.parametrize("name", ["facemesh", "audio", "motion"])
def test_a_damaged_network_is_named(weights, name):
    path = weights / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match=name):
        Pipeline.from_pretrained(weights)


@pytest.mark.parametrize("sampler", ['{"steps": 2, "magic": 1}', "nonsense", None])
def test_sampler_numbers_of_another_version_are_refused(weights, sampler):
    config = DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, rotary_dim=8)
    extra = {} if sampler is None else {"sampler": sampler}
    save_model(weights / "motion.safetensors", Denoiser(config), config, extra)
    with pytest.raises(WeightsError, match="train it with this version") as caught:
        Pipeline.from_pretrained(weights)
    assert "\n" not in str(caught.value)


def test_no_such_weights_or_device(weights):
    with pytest.raises(WeightsError, match="embedded"):
        Pipeline.from_pretrained("no such folder")
    with pytest.raises(OptionError):
        Pipeline.from_pretrained(weights, "tpu")


def test_stand_ins_have_the_shapes_of_the_models():
    import torch

    windows = torch.zeros(3, 80, 16)
    assert FakeEncoder()(windows).shape == AudioEncoder()(windows).shape
    x, t, audio = torch.zeros(2, 66, 70), torch.zeros(2, dtype=torch.long), torch.zeros(2, 66, 512)
    small = Denoiser(DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, rotary_dim=8))
    assert FakeDenoiser()(x, t, audio).shape == small(x, t, audio).shape
