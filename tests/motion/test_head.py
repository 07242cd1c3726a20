"""The head's process: any chunks to the bit, one seed one head, spread and speed as the style wants, no drift."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_generator, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated
from safetensors.numpy import load_file, save_file

from kptalk.errors import KptalkError, MotionError, OptionError, WeightsError
from kptalk.motion import head
from kptalk.motion.facemesh.generator import FaceMeshGenerator
from kptalk.motion.facemesh.style import SHORTEST, style_of_motion
from kptalk.motion.head import BLINKS, FPS, N_POSE, SPEED, SPREAD, HeadModel
from kptalk.options import Control
from kptalk.types import Motion
from kptalk.weights.header import embedded_path

SPEECH = np.tile(np.r_[np.full(20, 0.5), np.full(10, -2.0)], 20)  # levels of words and pauses
QUIET = np.full(1, -3.0)


@pytest.fixture(scope="module")
def model():
    return HeadModel.load(embedded_path("head"))


@pytest.fixture(scope="module")
def usual(model):
    """A head of the mean style, before its first frame."""
    return head.start(model, model.style_mean, 0)


def made(model, state, levels, count):
    return head.step(model, levels, count, state)[0]


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_chunks_do_not_matter_to_the_bit(model, usual, data):
    count = data.draw(st.integers(1, 150))
    cuts = sorted(data.draw(st.sets(st.integers(1, count), max_size=6)) | {count})
    state, parts, done, heard = usual, [], 0, 0
    for end in cuts:
        ahead = data.draw(st.integers(head.AHEAD, 30))
        pose, state = head.step(model, SPEECH[heard : max(heard, end + ahead)], end - done, state)
        parts.append(pose)
        done, heard = end, max(heard, end + ahead)
    assert np.array_equal(np.concatenate(parts), made(model, usual, SPEECH, count))


def test_a_state_is_a_value(model, usual):
    _, state = head.step(model, SPEECH, 30, usual)
    first, again = (made(model, state, SPEECH[:0], 30) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, made(model, replace(state, seed=1), SPEECH[:0], 30))


def test_a_head_begins_in_the_photos_pose_and_reaches_full_motion(model, usual):
    heads = np.array([made(model, replace(usual, seed=seed), SPEECH, 100) for seed in range(30)])
    assert np.abs(heads[:, 0, 1:4]).max() < 1.5
    spread = np.sqrt((heads[..., 1:4] ** 2).mean(0))
    assert (spread[50:].mean(0) > 0.8 * np.exp(model.style_mean[1:4])).all()


@pytest.mark.parametrize("lively", [-1.0, 1.0])
def test_spread_and_speed_are_the_styles(model, lively):
    style = model.livelier(model.style_mean, lively)
    begun = head.start(model, style, 0)
    found = np.array([head.style_of(made(model, replace(begun, seed=k), SPEECH, 350)[50:]) for k in range(24)]).mean(0)
    wanted = style[: 2 * N_POSE]
    assert np.abs(found - wanted)[[1, 2, 3, 8, 9, 10]].max() < np.log(1.25)


def test_five_minutes_do_not_drift(model, usual):
    poses = np.array([made(model, replace(usual, seed=seed), np.tile(SPEECH, 13), 300 * FPS) for seed in range(3)])
    minutes = np.sqrt((poses[..., 1:4].reshape(3, 5, 60 * FPS, 3) ** 2).mean((0, 2)))
    assert (minutes.max(0) < 1.4 * minutes.min(0)).all()
    assert (np.abs(poses[..., 1:4].mean(1)) < 0.25 * poses[..., 1:4].std(1)).all()
    silent = made(model, usual, QUIET, 60 * FPS)[:, 1:4]
    assert (np.abs(silent[250:].mean(0)) < 0.8 * poses[0, :, 1:4].std(0)).all()
    assert (silent[250:].std(0) > 0.3 * poses[0, :, 1:4].std(0)).all()  # it breathes
    yaw = poses[0, :, 1] - poses[0, :, 1].mean()
    again = [np.corrcoef(yaw[lag:], yaw[:-lag])[0, 1] for lag in range(5 * FPS, 60 * FPS, FPS)]
    assert max(again) < 0.3  # nothing is repeated


def test_the_soft_limit_holds_any_style(model):
    wild = made(model, head.start(model, model.livelier(model.style_mean, 4), 1), SPEECH, 600)
    assert (np.abs(wild) <= head.LIMIT * model.unit).all()


def test_sound_hastens_the_head(model, usual):
    """After a pause a head moves more in speech than in the pause."""
    levels = np.r_[np.full(100, -2.0), np.full(100, 0.6)]
    speeds = []
    for seed in range(30):
        turned = np.abs(np.diff(made(model, replace(usual, seed=seed), levels, 200)[:, 1]))
        speeds.append([turned[40:90].mean(), turned[110:190].mean()])
    pause, speech = np.median(speeds, 0)
    assert speech > 1.1 * pause


def test_people_drawn_differ_as_people_do(model):
    styles = np.array([model.draw_style(seed) for seed in range(300)])
    low, high = np.quantile(styles, [0.1, 0.9], 0)
    assert (np.exp(high - low)[1:4] > (8, 3, 5)).all()
    assert np.allclose(np.median(styles, 0)[1:4], model.style_mean[1:4], atol=0.3)
    assert np.array_equal(model.draw_style(5), model.draw_style(5))


def test_same_seed_other_style_same_gestures(model):
    calm, lively = (
        made(model, head.start(model, model.livelier(model.style_mean, amount), 3), SPEECH, 400)[:, 1:4]
        for amount in (-1, 1)
    )
    assert (lively.std(0) > 1.5 * calm.std(0)).all()
    assert min(np.corrcoef(calm[:, k], lively[:, k])[0, 1] for k in range(3)) > 0.8


def asked(generator, seed=0, **control):
    return generator.style(Control(**control), seed)


@pytest.fixture(scope="module")
def generator(space, model):
    plain = fake_generator(space)
    return FaceMeshGenerator(space, plain.encoder, plain.denoiser, plain.speech_mel_mean, plain.config, head=model)


def test_styles_that_are_asked_for(generator, model):
    calm, lively = (asked(generator, style=word) for word in ("calm", "lively"))
    assert (lively[:14] - calm[:14] > 0.5).sum() >= 12
    assert np.allclose(asked(generator, liveliness=1) - asked(generator), model.components[0])
    wide, narrow = (asked(generator, head_spread=degrees) for degrees in (8, 2))
    assert np.exp(wide[1]) == pytest.approx(8)
    assert np.exp(narrow[1]) == pytest.approx(2)
    assert wide[SPEED][1] > narrow[SPEED][1]
    assert wide[SPREAD][3] > narrow[SPREAD][3]  # roll goes along
    assert not np.array_equal(asked(generator, 1), asked(generator, 2))


def test_the_style_of_a_motion(generator, space, model):
    motion = random_motion(SHORTEST, 3)
    found = asked(generator, style=motion)
    assert np.allclose(np.exp(found[1:4]), motion.rotation.std(0), rtol=0.01)
    assert np.allclose(np.exp(found[8:11]), FPS * np.diff(motion.rotation, axis=0).std(0), rtol=0.01)
    blinking = motion.with_fields(expression=motion.expression * 0)
    shut = np.zeros((SHORTEST, 1, 1), np.float32)
    shut[::20] = 1.25
    blinking = blinking.with_fields(
        expression=space.from_head_frame(shut * space.blink, motion.rotation) + blinking.expression
    )
    per_minute = np.exp(style_of_motion(space, blinking, model)[BLINKS] + model.usual_manner[2])
    assert per_minute == pytest.approx(75, abs=5)
    kept = motion.with_style(np.arange(17) / 10)
    assert np.array_equal(asked(generator, style=kept), np.arange(17) / 10)
    with pytest.raises(MotionError, match=r"7\.6 s of motion: give 8 s"):
        asked(generator, style=motion[:190])
    with pytest.raises(MotionError, match="liveportrait"):
        asked(generator, style=random_motion(SHORTEST, space="liveportrait"))


@pytest.mark.parametrize("wanted", [{"style": "calm"}, {"liveliness": 1}, {"head_spread": 4}])
def test_models_without_a_process_know_no_styles(space, wanted):
    (name,) = wanted
    with pytest.raises(OptionError, match=f"^{name} is .*by diffusion"):
        fake_generator(space).style(Control(**wanted), 0)


def test_motion_of_a_process_has_its_pose_and_the_denoisers_face(space, source, model, generator):
    windows = np.random.default_rng(0).standard_normal((150, 80, 16)).astype(np.float32) - 1
    plain = fake_generator(space)

    def drawn(maker):
        motion, _, state = maker.step(windows, maker.start(source, 0))
        return Motion.concatenate([motion, maker.finish(state)[0]])

    process, diffused = drawn(generator), drawn(plain)
    faces = [space.tokens(motion, source.motion)[:, N_POSE:] for motion in (process, diffused)]
    assert np.allclose(*faces, atol=1e-4)
    assert np.abs(process.rotation[0] - source.motion.rotation[0]).max() < 3
    assert not np.allclose(process.rotation, diffused.rotation, atol=0.1)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"head\.safetensors"):
        HeadModel.load(tmp_path / "head.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pace", None, "lacks the tensor pace"),
        ("pace", np.zeros(3, np.float32), "is damaged: pace is float32"),
        ("unit", np.zeros(7, np.float32), "is damaged: unit holds numbers"),
        ("slope", np.full((257, 7), np.nan, np.float16), "is damaged: slope holds numbers"),
    ],
)
def test_a_file_that_is_no_head_is_refused(tmp_path, name, value, message):
    tensors = load_file(embedded_path("head"))
    tensors[name] = value
    save_file({key: each for key, each in tensors.items() if each is not None}, tmp_path / "head.safetensors")
    with pytest.raises(WeightsError, match=message):
        HeadModel.load(tmp_path / "head.safetensors")


def test_damaged_files_are_refused_or_move_a_head(tmp_path):
    content, moved = embedded_path("head").read_bytes(), 0
    for seed in range(30):
        path = tmp_path / f"{seed}.safetensors"
        path.write_bytes(mutated(content, np.random.default_rng(seed)))
        try:
            model = HeadModel.load(path)
            pose = made(model, head.start(model, model.draw_style(seed), seed), SPEECH, 50)
        except KptalkError:
            continue
        moved += 1
        assert (np.abs(pose) <= head.LIMIT * model.unit).all()
    assert moved
