"""The motion space: eq. 1 to the letter, exact inverses, and real faces in and out again."""

from fractions import Fraction

import numpy as np
import pytest
from fakes import random_motion
from hypothesis import given
from hypothesis import strategies as st
from media_shared import clip_landmarks, clip_path, portrait_of
from safetensors.numpy import save_file

from kptalk.errors import WeightsError
from kptalk.face.geometry import rotation_angles, rotation_matrix
from kptalk.face.measures import gaze, lid_opening, lip_opening
from kptalk.face.topology import EYE_CORNERS, LID_PAIRS, LIPS_INNER, LIPS_OUTER
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace, to_head_frame, turn
from kptalk.train.facemesh import align_clip, mirrored
from kptalk.types import Face, Motion, Portrait
from kptalk.weights.header import embedded_path

CLOSED = ["grid_flrwp_1@0", "grid_msbia_1@0", "grid_s2_1@0", "liveportrait_s9"]
OPEN = ["astronaut", "grid_flbbc_1@44", "grid_mlbax_1@0", "sadtalker_happy1"]
PORTRAITS = CLOSED + OPEN
VAL = ["grid_flbbc_1", "grid_mlbax_1"]
MORE_VAL = ["aoc_3", "katiehill_1", "lrs3_JSSc7hYKstI_1", "mead_W040_1", "icl_T4_1"]


@pytest.fixture(scope="module", params=PORTRAITS)
def portrait(request):
    return portrait_of(request.param)


def expressions(length=20, seed=0):
    return (0.05 * np.random.default_rng(seed).standard_normal((length, 21, 3))).astype(np.float32)


def test_own_motion_gives_back_the_landmarks(space, portrait):
    source = space.extract(portrait)
    found = space.vertices(source, source.motion)
    assert found.shape == (1, 478, 3)
    assert np.abs(found[0] - portrait.face.landmarks).max() < 0.01


def test_source_motion_is_one_frame_at_rest(space, portrait):
    source = space.extract(portrait)
    assert len(source.motion) == 1
    assert source.motion.space == "facemesh"
    assert source.motion.scale[0, 0] == 1
    assert not source.motion.translation.any()
    assert np.abs(source.motion.rotation).max() < 45
    assert source.canonical.shape == (21, 3)


def test_neutral_mesh_has_closed_lips(space, portrait):
    assert abs(lip_opening(space.extract(portrait).neutral)) < 0.02


def test_no_expression_closes_the_lips_and_leaves_the_rest(space, portrait):
    source = space.extract(portrait)
    silent = source.motion.with_fields(expression=np.zeros((1, 21, 3), np.float32))
    mesh = space.vertices(source, silent)[0]
    assert abs(lip_opening(mesh)) / source.unit < 0.02
    temples = [10, 127, 356, 168]
    assert np.abs(mesh[temples] - portrait.face.landmarks[temples]).max() < 0.06 * source.unit


@pytest.mark.parametrize("name", OPEN)
def test_neutral_of_an_open_mouth_is_closed(space, name):
    face = portrait_of(name).face
    source = space.extract(Portrait(None, face))
    assert lip_opening(face.landmarks) / source.unit > 0.04
    assert abs(lip_opening(source.neutral)) < 0.01


def plain_source(space):
    """A source without gains, whose face units are pixels, and whose expression is zero."""
    return FaceMeshSource(
        canonical=space.template[space.vertices_of_control],
        motion=random_motion(1).with_fields(expression=np.zeros((1, 21, 3))),
        neutral=space.template,
        gain=np.ones((478, 3), np.float32),
        unit=1.0,
        origin=np.zeros(3, np.float32),
    )


@given(st.integers(0, 9999))
def test_equation_1_holds_for_the_control_vertices(space, seed):
    """x_d = s (x_c R + delta) + t (KDTalker, eq. 1)."""
    source, motion = plain_source(space), random_motion(6, seed)
    small = motion.with_fields(expression=0.1 * motion.expression)
    found = space.vertices(source, small)[:, space.vertices_of_control]
    rotated = source.canonical @ rotation_matrix(small.rotation)
    wanted = small.scale[:, None] * (rotated + small.expression) + small.translation[:, None]
    assert lip_and_lid_free(space).any()
    free = lip_and_lid_free(space)
    assert np.abs(found - wanted)[:, free].max() < 1e-4


def lip_and_lid_free(space):
    """Control vertices that no guard against crossing lips and lids moves."""
    guarded = np.concatenate([LIPS_INNER, LID_PAIRS.ravel()])
    return ~np.isin(space.vertices_of_control, guarded)


def test_equation_1_holds_for_all_21_while_nothing_crosses(space):
    source = plain_source(space)
    opened = 0.2 * space.open_lips - 0.3 * space.blink
    motion = random_motion(30).with_fields(expression=np.zeros((30, 21, 3)))
    motion = motion.with_fields(expression=opened @ rotation_matrix(motion.rotation))
    found = space.vertices(source, motion)[:, space.vertices_of_control]
    rotated = source.canonical @ rotation_matrix(motion.rotation)
    wanted = motion.scale[:, None] * (rotated + motion.expression) + motion.translation[:, None]
    assert np.abs(found - wanted).max() < 1e-4


def test_control_vertices_are_21_of_the_mesh(space):
    assert len(set(space.vertices_of_control)) == 21
    assert space.vertices_of_control.min() >= 0
    assert space.vertices_of_control.max() < 478


@given(st.integers(0, 9999))
def test_encoder_and_decoder_are_inverse(space, seed):
    expression = expressions(4, seed)
    mesh = space.decode(expression)
    assert mesh.shape == (4, 478, 3)
    assert np.abs(space.encode(mesh) - expression).max() < 2e-4
    assert np.abs(mesh[:, space.vertices_of_control] - expression).max() < 2e-4


def test_encoding_projects(space):
    noise = (0.01 * np.random.default_rng(0).standard_normal((3, 478, 3))).astype(np.float32)
    once = space.decode(space.encode(noise))
    assert np.abs(space.decode(space.encode(once)) - once).max() < 1e-4
    assert np.abs(once).mean() < np.abs(noise).mean()


@given(st.integers(1, 30), st.integers(0, 9999), st.integers(0, 9999))
def test_tokens_and_motion_are_inverse(space, length, seed, other):
    motion, anchor = random_motion(length, seed), random_motion(1, other)
    tokens = space.tokens(motion, anchor)
    assert tokens.shape == (length, 70)
    assert tokens.dtype == np.float32
    back = space.motion(tokens, anchor)
    for name, tolerance in {"scale": 1e-5, "rotation": 1e-3, "translation": 1e-5, "expression": 1e-3}.items():
        assert np.abs(getattr(back, name) - getattr(motion, name)).max() < tolerance
    assert np.abs(space.tokens(back, anchor) - tokens).max() < 1e-2 * max(1, np.abs(tokens).max())


def test_the_anchor_itself_has_no_pose(space, source):
    assert np.abs(space.tokens(source.motion, source.motion)[:, :7]).max() < 1e-6


def test_tokens_do_not_depend_on_the_heads_turn(space, source):
    turned = turn(source.motion, source.motion.rotation + (20, -8, 5))
    difference = space.tokens(turned, source.motion) - space.tokens(source.motion, source.motion)
    assert np.abs(difference[:, 7:]).max() < 1e-2


def test_turning_keeps_the_face(space):
    motion = random_motion(10)
    assert np.allclose(to_head_frame(turn(motion, motion.rotation + 15)), to_head_frame(motion), atol=1e-5)


@pytest.mark.parametrize("people", [VAL, MORE_VAL], ids=["free", "more"])
def test_people_never_seen_are_reproduced(space, people):
    """RENDERER.md, row 1: RMS in per cent of the distance between the eyes."""
    parts = {"lips": np.r_[LIPS_OUTER, LIPS_INNER], "lids": LID_PAIRS.ravel(), "all": np.arange(478)}
    limits = {"lips": 0.45, "lids": 0.30, "all": 0.55}
    for name, part in parts.items():
        errors = []
        for name_of_clip in people:
            clip = align_clip(clip_landmarks(clip_path(name_of_clip), 1.6), space.template)
            displacement = clip.meshes - clip.neutral
            error = displacement - space.decode(space.encode(displacement))
            errors.append(100 * np.sqrt((error[:, part] ** 2).sum(-1).mean()))
        assert np.mean(errors) <= limits[name], (name, errors)


def test_a_clips_motion_draws_its_mesh_again(space):
    """Whole way: landmarks to tokens to motion to vertices, on the same person."""
    landmarks = clip_landmarks(clip_path(VAL[0]), 1.6)
    source = space.extract(Portrait(None, Face(landmarks[0])))
    scale, rotation, translation = space.pose(landmarks)
    head = ((landmarks - translation[:, None]) / scale[:, None, None]) @ np.swapaxes(rotation, 1, 2)
    expression = space.encode((head - source.neutral) / source.gain)
    angles = rotation_angles(rotation)
    motion = Motion(
        scale=scale[:, None] / source.unit,
        rotation=angles,
        translation=(translation - source.origin) / source.unit,
        expression=expression @ rotation_matrix(angles),
        fps=Fraction(25),
        space="facemesh",
    )
    again = space.vertices(source, space.motion(space.tokens(motion, source.motion), source.motion))
    error = np.linalg.norm((again - landmarks)[..., :2], axis=-1) / source.unit
    assert np.sqrt((error**2).mean()) < 0.012
    opening = lip_opening(again) / source.unit, lip_opening(landmarks) / source.unit
    assert np.corrcoef(*opening)[0, 1] > 0.95


def test_pose_is_recovered_under_any_turn(space):
    motion = random_motion(20, 3).with_fields(expression=np.zeros((20, 21, 3)))
    meshes = space.vertices(plain_source(space), motion)
    scale, rotation, translation = space.pose(meshes)
    assert np.allclose(scale, motion.scale[:, 0], atol=1e-4)
    assert np.allclose(rotation, rotation_matrix(motion.rotation), atol=1e-4)
    assert np.allclose(translation, motion.translation, atol=1e-3)


def test_a_photo_of_another_size_gives_the_same_motion(space, portrait):
    small = space.extract(portrait)
    large = space.extract(Portrait(None, Face(portrait.face.landmarks * 2.5 + np.float32([100, 7, 0]))))
    assert large.unit == pytest.approx(2.5 * small.unit, rel=1e-4)
    assert np.abs(large.motion.expression - small.motion.expression).max() < 1e-3
    assert np.abs(large.motion.rotation - small.motion.rotation).max() < 1e-2


def test_mirror_is_an_involution(space):
    assert np.array_equal(space.mirror[space.mirror], np.arange(478))
    flipped = space.template[space.mirror] * (-1, 1, 1)
    assert np.abs(flipped - space.template).max() < 0.02


def test_mirrored_expressions_stay_in_the_space(space):
    displacement = space.decode(expressions() * 0.2)
    flipped = mirrored(displacement, space.mirror)
    error = space.decode(space.encode(flipped)) - flipped
    assert np.abs(error).max() < 0.03 * np.abs(flipped).max() + 1e-4


def test_template_is_normalised(space):
    eyes = space.template[EYE_CORNERS].mean(1)
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(1, abs=1e-4)
    assert np.abs(eyes.mean(0) + (0, 1.1, 0.9)).max() < 1e-4
    assert abs(lip_opening(space.template)) < 0.03


def test_the_mouth_has_no_lids(space):
    expression = expressions()
    mouth = space.region("mouth", expression)
    lids = np.unique(LID_PAIRS)
    part = np.abs(space.decode(mouth)[:, lids]).max()
    assert part < 0.15 * np.abs(space.decode(expression)[:, lids]).max()


def test_the_gap_of_the_lips_is_linear_in_the_tokens(space, source):
    tokens = np.random.default_rng(0).standard_normal((5, 70)).astype(np.float32) * 0.3
    moved = space.decode(to_head_frame(space.motion(tokens, source.motion)))
    assert np.allclose(moved[:, 14, 1] - moved[:, 13, 1], tokens[:, 7:] @ space.lip_tokens(), atol=1e-4)


def test_importance_is_a_share_and_falls(space):
    importance = space.token_importance()
    assert importance.sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(importance) <= 1e-6).all()


def test_blink_lowers_the_lids_and_leaves_the_mouth(space, portrait):
    source = space.extract(portrait)
    head = to_head_frame(source.motion) + space.blink
    motion = source.motion.with_fields(expression=head @ rotation_matrix(source.motion.rotation))
    before, after = space.vertices(source, source.motion)[0], space.vertices(source, motion)[0]
    assert lid_opening(after).mean() < 0.6 * lid_opening(before).mean()
    assert np.abs(after[LIPS_INNER] - before[LIPS_INNER]).max() < 0.03 * source.unit


@pytest.mark.parametrize(("axis", "look"), [(0, (0.2, 0)), (1, (0, 0.1))])
def test_gaze_goes_where_it_is_sent(space, source, axis, look):
    head = to_head_frame(source.motion) + np.einsum("g,gkd->kd", look, space.gaze)
    motion = source.motion.with_fields(expression=head @ rotation_matrix(source.motion.rotation))
    before, after = (gaze(space.vertices(source, m))[0] for m in (source.motion, motion))
    assert (after - before)[axis] == pytest.approx(look[axis], rel=0.5)


def test_lips_and_lids_never_cross(space, portrait):
    source = space.extract(portrait)
    head = to_head_frame(source.motion) - 0.5 * space.open_lips + 2 * space.blink
    motion = source.motion.with_fields(expression=head @ rotation_matrix(source.motion.rotation))
    upright = motion.with_fields(expression=head, rotation=np.zeros((1, 3)))
    still = source.motion.with_fields(expression=to_head_frame(source.motion), rotation=np.zeros((1, 3)))
    mesh, own = space.vertices(source, upright)[0], space.vertices(source, still)[0]
    for upper, lower in LID_PAIRS.reshape(-1, 2):
        allowed = min(0.0, own[lower, 1] - own[upper, 1])
        assert mesh[lower, 1] - mesh[upper, 1] >= allowed - 1e-3 * source.unit


def test_weights_without_a_tensor_are_refused(tmp_path):
    path = tmp_path / "facemesh.safetensors"
    save_file({"template": np.zeros((478, 3), np.float32)}, path)
    with pytest.raises(WeightsError, match="decoder"):
        FaceMeshSpace.load(path)


@pytest.mark.parametrize("content", [None, b"", b"nonsense that is no safetensors"])
def test_damaged_weights_are_refused(tmp_path, content):
    path = tmp_path / "facemesh.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"facemesh\.safetensors"):
        FaceMeshSpace.load(path)


def test_truncated_weights_are_refused(tmp_path):
    path = tmp_path / "facemesh.safetensors"
    path.write_bytes(embedded_path("facemesh").read_bytes()[:100_000])
    with pytest.raises(WeightsError):
        FaceMeshSpace.load(path)
