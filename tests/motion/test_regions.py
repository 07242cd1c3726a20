"""Control of motion in the space ``liveportrait``: every knob moves its own keypoints, and nothing else."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from fakes import close, random_motion
from torch import nn

from kptalk.errors import MotionError
from kptalk.motion.control import Controller
from kptalk.motion.liveportrait.regions import EYES, LIPS
from kptalk.motion.liveportrait.space import LivePortraitSource, LivePortraitSpace
from kptalk.options import Control
from kptalk.types import Motion

PLAIN = {"silence_gate": False, "ease_in_out": False}
OTHERS = [k for k in range(21) if k not in LIPS]


@pytest.fixture(scope="module")
def source():
    own = random_motion(30, 3, space="liveportrait")[7:8]
    rng = np.random.default_rng(0)
    blink = np.zeros((21, 3), np.float32)
    blink[EYES] = 0.01 * rng.standard_normal((5, 3))
    return LivePortraitSource(rng.standard_normal((21, 3)).astype(np.float32), own, blink)


@pytest.fixture(scope="module")
def moved():
    return random_motion(100, 5, space="liveportrait")


def controlled(source, motion, control, activity=None, cuts=(), seed=0):
    controller = Controller(LivePortraitSpace(nn.Identity()), source, control, own_blinks=True)
    activity = np.ones(len(motion), np.float32) if activity is None else activity
    state, parts = controller.start(seed), []
    for first, last in itertools.pairwise([0, *cuts, len(motion)]):
        part, state = controller.step(motion[first:last], activity[first:last], state)
        parts.append(part)
    return Motion.concatenate([*parts, controller.finish(state)])


def test_without_wishes_the_motion_stays_as_it_is(source, moved):
    """Blinks and gaze are KDTalker's own."""
    assert close(controlled(source, moved, Control(**PLAIN)), moved)


@pytest.mark.parametrize("scale", [0, 0.5, 2])
@pytest.mark.parametrize(("knob", "own"), [("mouth_scale", LIPS), ("expression_scale", OTHERS)])
def test_each_scale_moves_its_own_keypoints_about_the_photos(source, moved, scale, knob, own):
    out = controlled(source, moved, Control(**{knob: scale}, **PLAIN))
    photo, rest = source.motion.expression, [k for k in range(21) if k not in own]
    wanted = photo + scale * (moved.expression - photo)
    assert np.allclose(out.expression[:, own], wanted[:, own], atol=1e-5)
    assert np.allclose(out.expression[:, rest], moved.expression[:, rest], atol=1e-5)
    assert np.array_equal(out.rotation, controlled(source, moved, Control(**PLAIN)).rotation)


def test_pose_still_and_offsets_leave_the_face_alone(source, moved):
    out = controlled(source, moved, Control(pose="still", yaw=9, roll=-4, **PLAIN))
    assert np.allclose(out.rotation, source.motion.rotation + np.array([9, 0, -4]), atol=1e-4)
    assert np.allclose(out.translation, source.motion.translation)
    assert np.allclose(out.expression, moved.expression, atol=1e-6)


def test_pose_scale_is_about_the_photo(source, moved):
    out = controlled(source, moved, Control(pose_scale=0.5, **PLAIN))
    assert np.allclose(out.rotation, (source.motion.rotation + moved.rotation) / 2, atol=1e-4)


def test_pose_of_another_motion(source, moved):
    driver = random_motion(40, 9, Fraction(25), "liveportrait")
    out = controlled(source, moved, Control(pose=driver, **PLAIN))
    wanted = source.motion.rotation + driver.rotation - driver.rotation[:1]
    assert np.allclose(out.rotation[:40], wanted, atol=1e-4)
    with pytest.raises(MotionError, match=r"'facemesh'.*'liveportrait'"):
        controlled(source, moved, Control(pose=random_motion(5)))


def test_blinks_as_many_as_asked_replace_the_motions_own(source, moved):
    long = Motion.concatenate([moved] * 12)
    none = controlled(source, long, Control(blinks=0, **PLAIN))
    assert np.allclose(none.expression[:, EYES], source.motion.expression[:, EYES])
    rest = [k for k in range(21) if k not in EYES]
    assert np.allclose(none.expression[:, rest], long.expression[:, rest], atol=1e-5)
    some = controlled(source, long, Control(blinks=20, **PLAIN))
    change = some.expression - none.expression
    closed = np.einsum("tkd,kd->t", change, source.blink) / (source.blink**2).sum()
    assert np.allclose(change, closed[:, None, None] * source.blink, atol=1e-5)
    assert closed.max() == pytest.approx(1, abs=1e-3)  # the lids meet, and do not cross
    blinks = (np.diff((closed > 0.9).astype(int)) == 1).sum()
    assert 10 <= blinks <= 22  # of 16 in 48 s


def test_the_mouth_rests_in_silence(source, moved):
    activity = np.repeat([1, 0], 50).astype(np.float32)
    out = controlled(source, moved, Control(silence_gate=True, ease_in_out=False), activity)
    assert np.allclose(out.expression[:50], moved.expression[:50], atol=1e-5)
    assert np.allclose(out.expression[50:, LIPS], source.motion.expression[:, LIPS], atol=1e-6)
    assert np.allclose(out.expression[50:, OTHERS], moved.expression[50:, OTHERS], atol=1e-5)


@pytest.mark.parametrize("cuts", [(1,), (3, 50, 99), (10, 11, 12)])
def test_chunks_do_not_matter(source, moved, cuts):
    control = Control(blinks=40, mouth_scale=1.3)
    assert close(controlled(source, moved, control), controlled(source, moved, control, cuts=cuts), 1e-6)


def test_it_begins_and_ends_with_the_photos_face(source, moved):
    out = controlled(source, moved, Control())
    assert close(out[:1], source.motion, 1e-5)
    assert close(out[-1:], source.motion, 1e-5)
