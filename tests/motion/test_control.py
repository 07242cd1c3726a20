"""Control of motion: every knob by itself, blinks as often as asked, ease from and to the photo, any chunks."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from fakes import close, in_both_spaces, random_motion, same
from hypothesis import given, settings
from hypothesis import strategies as st
from media_shared import portrait_of

from kptalk.errors import MotionError
from kptalk.face.measures import gaze, lid_opening, lip_opening
from kptalk.face.topology import LID_PAIRS
from kptalk.motion.control import BLINK, LEAD, Controller
from kptalk.motion.facemesh.space import LIDS_SHUT, to_head_frame
from kptalk.options import Control
from kptalk.types import Motion

CALM = Control(blinks=0, silence_gate=False, ease_in_out=False)


@pytest.fixture(scope="module")
def moved(space, source):
    """Four seconds of motion about the portrait's own."""
    motion = random_motion(100, 5, space=space.id)
    return motion.with_fields(rotation=motion.rotation + source.motion.rotation)


def controlled(space, source, motion, control, activity=None, cuts=(), seed=0):
    controller = Controller(space, source, control, own_blinks=False)
    activity = np.ones(len(motion), np.float32) if activity is None else activity
    state, parts = controller.start(seed), []
    for first, last in itertools.pairwise([0, *cuts, len(motion)]):
        part, state = controller.step(motion[first:last], activity[first:last], state)
        parts.append(part)
    out = Motion.concatenate([*parts, controller.finish(state)])
    assert len(out) == len(motion)
    return out


def mouth_and_rest(space, motion):
    expression = to_head_frame(motion)
    mouth = space.region("mouth", expression)
    return mouth, expression - mouth


def lids(space, source, motion):
    """Lid opening on an upright head, over the photo's own."""
    upright = motion.with_fields(expression=to_head_frame(motion), rotation=np.zeros_like(motion.rotation))
    still = source.motion.with_fields(expression=to_head_frame(source.motion), rotation=np.zeros((1, 3)))
    return lid_opening(space.vertices(source, upright)).mean(-1) / lid_opening(space.vertices(source, still)).mean()


@in_both_spaces
@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 120),
    data=st.data(),
    ease=st.booleans(),
    pose=st.sampled_from(["auto", "still", "driver"]),
)
def test_chunks_do_not_matter(space, source, length, data, ease, pose):
    motion = random_motion(length, space=space.id)
    activity = np.random.default_rng(0).uniform(0, 1, length).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))
    driver = random_motion(9, 3, space=space.id)
    control = Control(pose=driver if pose == "driver" else pose, ease_in_out=ease, blinks=40)
    whole = controlled(space, source, motion, control, activity)
    assert close(controlled(space, source, motion, control, activity, cuts), whole, 1e-5)


@in_both_spaces
def test_same_seed_same_blinks(space, source, moved):
    first, again, other = (controlled(space, source, moved, Control(blinks=60), seed=s) for s in (1, 1, 2))
    assert same(first, again)
    assert not close(first, other, 1e-3)


@in_both_spaces
def test_still_keeps_the_photos_pose_and_still_blinks(space, source, moved):
    out = controlled(space, source, moved, Control(pose="still"))
    for name in ("scale", "rotation", "translation"):
        assert np.allclose(getattr(out, name), getattr(source.motion, name), atol=1e-5)
    assert lids(space, source, out).min() < 0.35


@in_both_spaces
def test_still_moves_the_mouth_as_auto_does(space, source, moved):
    auto, still = (controlled(space, source, moved, Control(pose=p, blinks=0)) for p in ("auto", "still"))
    assert np.abs(mouth_and_rest(space, auto)[0] - mouth_and_rest(space, still)[0]).max() < 2e-3


@in_both_spaces
@pytest.mark.parametrize("scale", [0, 0.5, 2])
def test_mouth_scale_scales_the_mouth_alone(space, source, moved, scale):
    plain, scaled = (
        controlled(space, source, moved, Control(mouth_scale=s, blinks=0, silence_gate=False, ease_in_out=False))
        for s in (1, scale)
    )
    for name in ("scale", "rotation", "translation"):
        assert np.array_equal(getattr(plain, name), getattr(scaled, name))
    mouth = mouth_and_rest(space, moved)[0]
    difference = to_head_frame(scaled) - to_head_frame(plain)
    assert np.abs(difference - (scale - 1) * mouth).max() < 1e-4


@in_both_spaces
@pytest.mark.parametrize("scale", [0, 0.5, 2])
def test_expression_scale_leaves_mouth_and_pose(space, source, moved, scale):
    plain, scaled = (
        controlled(space, source, moved, Control(expression_scale=s, blinks=0, silence_gate=False, ease_in_out=False))
        for s in (1, scale)
    )
    for name in ("scale", "rotation", "translation"):
        assert np.array_equal(getattr(plain, name), getattr(scaled, name))
    rest = mouth_and_rest(space, moved)[1]
    difference = to_head_frame(scaled) - to_head_frame(plain)
    assert np.abs(difference - (scale - 1) * rest).max() < 1e-4


def test_expression_scale_zero_still_blinks(space, source, moved):
    motion = Motion.concatenate([moved] * 3)
    out = controlled(space, source, motion, Control(expression_scale=0, mouth_scale=0, pose="still"))
    assert lids(space, source, out).min() < 0.35


@in_both_spaces
@pytest.mark.parametrize("scale", [0, 0.3, 2])
def test_pose_scale_scales_about_the_photos_pose_alone(space, source, moved, scale):
    out = controlled(space, source, moved, Control(pose_scale=scale, blinks=0, silence_gate=False, ease_in_out=False))
    own = source.motion
    for name in ("scale", "rotation", "translation"):
        wanted = getattr(own, name) + scale * (getattr(moved, name) - getattr(own, name))
        assert np.allclose(getattr(out, name), wanted, atol=1e-4)
    plain = controlled(space, source, moved, CALM)
    mouths = [mouth_and_rest(space, motion)[0] for motion in (out, plain)]
    assert np.abs(mouths[0] - mouths[1]).max() < 3e-3  # the eyes alone follow the head


@pytest.mark.parametrize(("name", "column"), [("yaw", 0), ("pitch", 1), ("roll", 2)])
def test_offsets_turn_the_head_by_that_much(space, source, moved, name, column):
    plain = controlled(space, source, moved, CALM)
    out = controlled(space, source, moved, Control(blinks=0, silence_gate=False, ease_in_out=False, **{name: 12}))
    wanted = np.zeros(3)
    wanted[column] = 12
    assert np.allclose(out.rotation - plain.rotation, wanted, atol=1e-4)
    assert np.array_equal(out.translation, plain.translation)
    mouths = [mouth_and_rest(space, motion)[0] for motion in (out, plain)]
    assert np.abs(mouths[0] - mouths[1]).max() < 3e-3


@pytest.mark.parametrize("rate", [5, 17, 40, 60])
def test_blinks_are_as_many_as_asked(space, source, rate):
    minutes = 4
    still = source.motion.with_fields(
        **{n: np.repeat(getattr(source.motion, n), 1500 * minutes, 0) for n in ("scale", "rotation", "translation")},
        expression=np.repeat(source.motion.expression, 1500 * minutes, 0),
    )
    out = controlled(space, source, still, Control(blinks=rate, silence_gate=False))
    closed = lids(space, source, out) < 0.5
    count = int((np.diff(closed.astype(int)) == 1).sum())
    assert 0.7 * rate * minutes <= count <= 1.3 * rate * minutes + 1
    starts = np.flatnonzero(np.diff(closed.astype(int)) == 1)
    assert np.diff(starts).min() >= (20 if rate <= 40 else 15)


@in_both_spaces
def test_no_blinks_where_none_are_wanted(space, source, moved):
    out = controlled(space, source, Motion.concatenate([moved] * 8), Control(blinks=0, expression_scale=0))
    assert lids(space, source, out).min() > 0.75  # the gaze alone moves them


FACES = ["astronaut", "grid_flbbc_1@44", "grid_flrwp_1@0", "grid_mlbax_1@0", "grid_msbia_1@0", "grid_s4_1@18"]


@in_both_spaces
@pytest.mark.parametrize("name", FACES + ["sadtalker_art_14", "liveportrait_s9"])
def test_blinks_close_the_eyes_of_every_face(space, name):
    source = space.extract(portrait_of(name))
    head = to_head_frame(source.motion) + [[[0.0]], [[1.0]]] * space.anatomy(source).blink / LIDS_SHUT
    level = random_motion(2, space=space.id).with_fields(rotation=np.zeros((2, 3)), expression=head)
    mesh = space.vertices(source, level)
    gaps = mesh[:, LID_PAIRS[..., 1], 1] - mesh[:, LID_PAIRS[..., 0], 1]
    assert gaps[1].mean() < 0.15 * gaps[0].mean()


def test_a_blink_closes_and_opens_again():
    assert max(BLINK) == 1
    assert BLINK[0] < 0.5
    assert BLINK[-1] < 0.2


@in_both_spaces
@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 13, 14, 15, 60])
def test_starts_and_ends_with_the_photos_own_face(space, source, length):
    out = controlled(space, source, random_motion(length, 2, space=space.id), Control(blinks=60))
    for frame in (out[:1], out[length - 1 :]):
        assert close(frame, source.motion, 1e-5)


def test_easing_is_smooth(space, source):
    away = random_motion(1).with_fields(rotation=np.array([[20.0, 0, 0]]))
    constant = Motion.concatenate([away] * 50)
    yaw = controlled(space, source, constant, Control(blinks=0)).rotation[:, 0] - source.motion.rotation[0, 0]
    assert (np.diff(yaw[:25]) >= -1e-4).all()
    assert (np.diff(yaw[25:]) <= 1e-4).all()
    assert np.abs(np.diff(yaw)).max() < 0.35 * np.ptp(yaw)


def test_without_ease_only_what_the_eyes_look_ahead_is_held_back(space, source, moved):
    controller = Controller(space, source, CALM, own_blinks=False)
    out, state = controller.step(moved, np.ones(len(moved), np.float32), controller.start(0))
    assert len(out) == len(moved) - LEAD
    assert len(controller.finish(state)) == LEAD
    assert np.array_equal(out.rotation, moved.rotation[:-LEAD])


@in_both_spaces
def test_gate_closes_the_mouth_in_silence(space, source):
    opened = source.motion.with_fields(expression=source.motion.expression + 0.2 * space.open_lips)
    motion = Motion.concatenate([opened] * 60)
    activity = np.r_[np.ones(30), np.zeros(30)].astype(np.float32)
    out = controlled(space, source, motion, Control(ease_in_out=False, blinks=0, pose="still"), activity)
    gap = lip_opening(space.vertices(source, out)) / source.unit
    assert gap[:30].min() > 0.1
    assert np.abs(gap[30:]).max() < 0.02
    free = controlled(
        space, source, motion, Control(ease_in_out=False, blinks=0, silence_gate=False, pose="still"), activity
    )
    assert (lip_opening(space.vertices(source, free)) / source.unit).min() > 0.1


def test_gate_leaves_the_pose(space, source, moved):
    silent = np.zeros(len(moved), np.float32)
    out = controlled(space, source, moved, Control(ease_in_out=False, blinks=0), silent)
    assert np.array_equal(out.rotation, moved.rotation)


@in_both_spaces
def test_pose_of_a_motion_runs_there_and_back(space, source):
    driver = random_motion(10, 8, space=space.id)
    motion = random_motion(40, 9, space=space.id)
    out = controlled(space, source, motion, Control(pose=driver, ease_in_out=False, blinks=0, silence_gate=False))
    order = [*range(10), *range(8, -1, -1), *range(1, 10), *range(8, -1, -1), *range(1, 4)][:40]
    wanted = source.motion.rotation + driver.rotation[order] - driver.rotation[:1]
    assert np.allclose(out.rotation, wanted, atol=1e-4)
    assert np.allclose(out.scale, source.motion.scale * driver.scale[order] / driver.scale[:1], atol=1e-5)
    mouths = [mouth_and_rest(space, m)[0] for m in (out, motion)]
    assert np.abs(mouths[0] - mouths[1]).max() < 3e-3


def test_pose_of_a_motion_at_another_frame_rate_keeps_its_speed(space, source):
    turning = random_motion(80, 8, Fraction(50))
    out = controlled(space, source, random_motion(40, 9), Control(pose=turning, ease_in_out=False))
    wanted = source.motion.rotation + turning.rotation[::2] - turning.rotation[:1]
    assert np.allclose(out.rotation, wanted, atol=1e-3)


def test_pose_of_another_motion_space_is_refused(space, source):
    with pytest.raises(MotionError, match=r"'liveportrait'.*'facemesh'"):
        Controller(space, source, Control(pose=random_motion(5, space="liveportrait")), own_blinks=False)


def test_pose_of_one_frame_holds(space, source, moved):
    out = controlled(space, source, moved, Control(pose=random_motion(1), ease_in_out=False))
    assert np.allclose(out.rotation, source.motion.rotation, atol=1e-5)


@in_both_spaces
def test_eyes_stay_on_the_viewer_when_the_head_turns(space, source):
    def look(yaw):
        still = Motion.concatenate([source.motion] * 30)
        out = controlled(space, source, still, Control(yaw=yaw, blinks=0, ease_in_out=False))
        upright = out.with_fields(expression=to_head_frame(out), rotation=np.zeros_like(out.rotation))
        return gaze(space.vertices(source, upright))[-1, 0]

    # Positive yaw turns the nose to the left of the picture: the eyes go to the right.
    assert look(15) > look(0) + 0.05 > look(-15) + 0.1
