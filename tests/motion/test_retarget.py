"""From a driver's motion to a portrait's: relative, absolute, and only a part of it."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import close, in_both_spaces, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.space import to_head_frame, turn
from kptalk.motion.liveportrait.regions import EYES, LIPS
from kptalk.motion.liveportrait.space import LivePortraitSpace
from kptalk.motion.retarget import retarget
from kptalk.options import RetargetOptions
from kptalk.types import Motion

SEEDS = st.integers(0, 1000)
MODES = ("relative", "absolute")
REGIONS = ("all", "pose", "expression", "lips", "eyes")


def driven(space, motion, source, mode="relative", region="all"):
    pieces = list(retarget([motion[:7], motion[7:]], source, space, RetargetOptions(mode, region)))
    return Motion.concatenate(pieces)


def with_face(motion, expression):
    """Other expressions (T, 21, 3), in the head's own frame."""
    return motion.with_fields(expression=expression @ rotation_matrix(motion.rotation))


@pytest.fixture(scope="module")
def photo(space):
    """A turned head that smiles with parted lips: its own motion, one frame."""
    motion = random_motion(30, 5, space=space.id)[12:13]
    return with_face(motion, to_head_frame(motion) + 0.15 * space.open_lips)


@in_both_spaces
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_a_driver_that_starts_as_the_photo_is_passed_on_as_it_is(space, seed):
    """Lips and lids count from the driver's neutral face, so this holds where the lids of both start open."""
    motion = random_motion(20, seed, space=space.id)
    open_eyes = to_head_frame(motion)
    shut = space.regions.lid_gap(open_eyes[:1]).mean() / space.regions.lid_gap(space.blink[None]).mean()
    motion = with_face(motion, open_eyes - shut * space.blink)
    assert close(driven(space, motion, motion[:1]), motion, 2e-3)


@in_both_spaces
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_relative_pose_is_that_of_the_papers(space, photo, seed):
    motion = random_motion(20, seed, space=space.id)
    made = driven(space, motion, photo)
    driver, first, own = (rotation_matrix(m.rotation.astype(np.float64)) for m in (motion, motion[:1], photo))
    wanted = np.einsum("tij,kj,kl->til", driver, first[0], own[0])  # R_d R_d0^T R_s
    assert np.allclose(rotation_matrix(made.rotation), wanted, atol=1e-5)
    assert np.allclose(made.scale, photo.scale * motion.scale / motion.scale[0], atol=1e-6)
    assert np.allclose(made.translation - photo.translation, motion.translation - motion.translation[0], atol=1e-6)


@in_both_spaces
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, person=st.integers(1000, 2000))
def test_what_lasts_in_the_drivers_face_does_not_pass_over(space, photo, seed, person):
    """Another resting face of the driver changes nothing but how far lips and lids are open."""
    motion = random_motion(20, seed, space=space.id)
    lasting = to_head_frame(random_motion(1, person, space=space.id))
    lasting = lasting - space.regions.lip_gap(lasting) / space.regions.lip_gap(space.open_lips[None]) * space.open_lips
    lasting = (
        lasting - space.regions.lid_gap(lasting).mean() / space.regions.lid_gap(space.blink[None]).mean() * space.blink
    )
    other = with_face(motion, to_head_frame(motion) + lasting)
    made, again = driven(space, motion, photo), driven(space, other, photo)
    assert np.abs(to_head_frame(made) - to_head_frame(again)).max() < 2e-3


@in_both_spaces
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_lips_open_as_far_as_the_drivers(space, photo, seed):
    """The photo's lips are parted; they meet where the driver's do."""
    motion = random_motion(20, seed, space=space.id)
    made = driven(space, motion, photo)
    wanted = space.regions.lip_gap(to_head_frame(motion))
    assert np.allclose(space.regions.lip_gap(to_head_frame(made)), wanted, atol=1e-3)


@in_both_spaces
def test_a_blink_in_the_drivers_first_frame_does_not_widen_the_eyes(space, photo):
    motion = random_motion(20, 3, space=space.id)
    face = to_head_frame(motion) * 0
    blink = with_face(motion, face + (np.arange(20) < 3)[:, None, None] * space.blink)
    lids = space.regions.lid_gap(to_head_frame(driven(space, blink, photo))).mean(1)
    own = space.regions.lid_gap(to_head_frame(photo)).mean()
    assert np.allclose(lids[3:], own, atol=2e-3)
    assert (lids[:3] < own - 0.05).all()


@pytest.mark.parametrize("fps", [24, 30])
def test_absolute_motion_is_the_drivers(space, photo, fps):
    motion = replace(random_motion(20, 8), fps=fps)
    made = driven(space, motion, photo, "absolute")
    assert close(made, motion)
    assert made.fps == fps


@in_both_spaces
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("region", REGIONS)
def test_only_the_region_moves(space, photo, mode, region):
    natural = np.random.default_rng(0).standard_normal((20, 63)).astype(np.float32) @ space.unwhiten
    motion = with_face(random_motion(20, 11, space=space.id), space.expression(natural))
    made, whole = driven(space, motion, photo, mode, region), driven(space, motion, photo, mode)
    pose = whole if region in ("all", "pose") else Motion.concatenate([photo] * 20)
    for name in ("scale", "rotation", "translation"):
        assert np.allclose(getattr(made, name), getattr(pose, name), atol=1e-5)
    assert made.fps == motion.fps

    own, face, full = (space.decode(to_head_frame(m)) for m in (photo, made, whole))
    if region in ("all", "expression"):
        assert np.allclose(face, full, atol=1e-5)
        return
    moved = np.abs(face - own).max((0, 2))
    if region == "pose":
        assert moved.max() < 1e-4
        return
    parts = {"lips": [13, 14, 17, 0, 61, 291, 152], "eyes": [159, 145, 386, 374, 468, 473]}
    other = "eyes" if region == "lips" else "lips"
    wanted = np.abs(full - own).max((0, 2))
    assert np.abs(face - full)[:, parts[region]].max() < 0.25 * wanted[parts[region]].max()
    assert moved[parts[other]].max() < 0.15 * wanted[parts[other]].max()


def test_the_face_of_a_still_head_turns_with_it(space, photo):
    """Region 'pose' leaves the expression as it is on the head, also where that is turned."""
    motion = turn(photo, photo.rotation + np.float32([[10, 5, 0]]))
    made = driven(space, Motion.concatenate([photo, motion]), photo, "absolute", "pose")
    assert np.allclose(to_head_frame(made), to_head_frame(photo), atol=1e-5)
    assert np.abs(made.expression[1] - made.expression[0]).max() > 1e-3


class TestLivePortrait:
    """The space ``liveportrait``: keypoints belong to regions, an expression is not turned with the head."""

    motion, photo = random_motion(20, 4, space="liveportrait"), random_motion(9, 8, space="liveportrait")[5:6]

    def driven(self, mode="relative", region="all"):
        pieces = [self.motion[:7], self.motion[7:]]
        return Motion.concatenate(
            list(retarget(pieces, self.photo, LivePortraitSpace(nn.Identity()), RetargetOptions(mode, region)))
        )

    def test_all_of_it(self):
        made = self.driven()
        assert close(made[:1], self.photo, 1e-4)
        change = self.motion.expression - self.motion.expression[:1]
        assert np.allclose(made.expression - self.photo.expression, change, atol=1e-5)
        made = self.driven("absolute")
        assert np.array_equal(made.expression, self.motion.expression)
        assert np.array_equal(made.rotation, self.motion.rotation)
        assert (made.scale == self.photo.scale).all()

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(
        ("region", "keypoints"), [("pose", []), ("expression", list(range(21))), ("lips", LIPS), ("eyes", EYES)]
    )
    def test_a_region(self, mode, region, keypoints):
        made, whole = self.driven(mode, region), self.driven(mode)
        others = [k for k in range(21) if k not in keypoints]
        assert np.allclose(made.expression[:, keypoints], whole.expression[:, keypoints], atol=1e-6)
        assert (made.expression[:, others] == self.photo.expression[:, others]).all()
        for name in ("scale", "rotation", "translation"):
            wanted = whole if region == "pose" else self.photo
            assert np.allclose(getattr(made, name), getattr(wanted, name), atol=1e-5)
