"""The space of the 478 landmarks: the same tokens as ``facemesh``, real faces in and out again, 68 points to all."""

import numpy as np
import pytest
from fakes import close, facemesh_space, landmark_space, random_motion
from hypothesis import given
from hypothesis import strategies as st
from media_shared import clip_landmarks, clip_path, portrait_of

from kptalk.errors import MotionError
from kptalk.face.topology import IBUG68, points68
from kptalk.motion.facemesh.reader import FaceMeshReader
from kptalk.motion.facemesh.space import to_head_frame
from kptalk.motion.plot import tracks
from kptalk.types import Face, Motion

SEEDS = st.integers(0, 9999)
CLIPS = ["grid_flbbc_1", "grid_mlbax_1"]


@pytest.fixture(scope="module")
def space():
    return landmark_space()


def aligned(space, name):
    """What a clip's face does, (T, 478, 3) in the head's frame: its own neutral mesh taken off."""
    meshes, *_ = FaceMeshReader(space)._meshes(clip_landmarks(clip_path(name), 2))
    return (meshes - space.neutral(meshes)).astype(np.float32)


@pytest.mark.parametrize("name", ["astronaut", "grid_flbbc_1@44", "grid_msbia_1@0", "sadtalker_art_14"])
def test_own_motion_gives_back_the_landmarks(space, name):
    portrait = portrait_of(name)
    source = space.extract(portrait)
    assert (source.canonical.shape, source.motion.expression.shape) == ((478, 3), (1, 478, 3))
    assert np.abs(space.vertices(source, source.motion)[0] - portrait.face.landmarks).max() < 0.01
    keypoints = facemesh_space().extract(portrait)
    assert np.abs(source.neutral - keypoints.neutral).max() < 1e-3


@given(SEEDS)
def test_tokens_are_those_of_the_keypoints(space, seed):
    """One motion in both spaces: the same tokens, the same meshes."""
    keypoints, anchor = facemesh_space(), random_motion(1, 5)
    motion = random_motion(6, seed)
    tokens = keypoints.tokens(motion, anchor)
    made = space.motion(tokens, anchor)
    assert (made.space, made.expression.shape) == ("landmark", (6, 478, 3))
    scale = max(1, float(np.abs(tokens).max()))
    assert np.abs(space.tokens(made, anchor) - tokens).max() < 1e-2 * scale
    wanted = keypoints.decode(to_head_frame(motion))
    assert np.abs(to_head_frame(made) - wanted).max() < 1e-3 * max(1, float(np.abs(wanted).max()))


@given(SEEDS)
def test_a_region_is_a_share_of_every_landmarks_movement(space, seed):
    change = to_head_frame(random_motion(4, seed, space="landmark"))
    mouth, eyes = space.region("mouth", change), space.region("eyes", change)
    lips, temples, irises = [13, 14, 61, 291, 152], [10, 127, 356], [468, 473]
    assert np.array_equal(mouth[:, lips], change[:, lips])
    assert np.array_equal(eyes[:, irises], change[:, irises])
    assert not mouth[:, temples + irises].any()
    assert not eyes[:, lips + temples].any()


@pytest.mark.parametrize("name", CLIPS)
def test_people_never_seen_are_reproduced(space, name):
    """The basis of 63 numbers holds what lips do, and leaves the tracker's noise."""
    moved = aligned(space, name)
    found = space.encode(moved)
    lips = [13, 14, 61, 291, 0, 17]
    assert np.abs(found - moved)[:, lips].mean() < 0.1 * np.abs(moved[:, lips]).mean() + 0.002
    gaps = [mesh[:, 14, 1] - mesh[:, 13, 1] for mesh in (moved, found)]
    assert np.corrcoef(*gaps)[0, 1] > 0.99


@pytest.mark.parametrize("name", CLIPS)
def test_68_points_give_all(space, name):
    moved = space.encode(aligned(space, name))
    found = space.from_points68(points68(moved))
    assert found.shape == moved.shape
    assert found.dtype == np.float32
    assert np.abs(found - moved)[:, IBUG68].max() < 0.01
    unseen = np.setdiff1d(np.arange(468), IBUG68)
    assert np.abs(found - moved)[:, unseen].mean() < 0.2 * np.abs(moved[:, unseen]).mean() + 0.001
    gaps = [mesh[:, 14, 1] - mesh[:, 13, 1] for mesh in (moved, found)]
    assert np.corrcoef(*gaps)[0, 1] > 0.99


def test_68_points_are_ibugs(space):
    """Contours in their order: each point is near the one before, and the sides mirror each other."""
    assert (IBUG68.shape, len(set(IBUG68.tolist()))) == ((68,), 68)
    points = points68(space.template)
    assert points68(space.template[None]).shape == (1, 68, 3)
    for first, last in ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68)):
        steps = np.linalg.norm(np.diff(points[first:last, :2], axis=0), axis=1)
        assert steps.max() < 0.6
    assert (np.diff(points[:17, 0]) > -0.05).all()  # jaw from the picture's left to its right, the chin in the middle
    assert points[8, 1] == points[:, 1].max()
    mirrored = [*range(16, -1, -1), *range(26, 16, -1)]
    assert np.abs(points[:27] * [-1, 1, 1] - points[mirrored]).max() < 0.02


def test_the_reference_token_tells_people_apart(space):
    tokens = [
        space.canonical_token(space.extract(portrait_of(name)).canonical) for name in ("astronaut", "grid_s2_1@0")
    ]
    assert all((token.shape, token.dtype) == ((70,), np.float32) for token in tokens)
    assert not np.concatenate(tokens).reshape(2, 70)[:, :7].any()
    assert np.abs(tokens[0] - tokens[1]).mean() > 0.2
    assert np.abs(tokens).max() < 12
    assert not space.canonical_token(space.template).any()


def test_a_saved_motion_is_half_as_large_and_the_same(space, tmp_path):
    motion = random_motion(50, 1, space="landmark")
    motion.save(tmp_path / "motion.safetensors")
    assert close(Motion.load(tmp_path / "motion.safetensors"), motion, 1e-3)
    assert (tmp_path / "motion.safetensors").stat().st_size < 50 * 2920 + 1000
    far = motion.with_fields(expression=motion.expression + 1e5)
    far.save(tmp_path / "far.safetensors")  # beyond float16, and beyond what is read
    with pytest.raises(MotionError, match="expression is 1e"):
        Motion.load(tmp_path / "far.safetensors")


def test_motion_read_from_landmarks_opens_the_mouth_as_they_do(space):
    landmarks = clip_landmarks(clip_path(CLIPS[0]), 2)
    reader = FaceMeshReader(space)
    state = reader.start(25)
    _, state = reader.step([], [Face(mesh) for mesh in landmarks], state)
    motion = reader.finish(state)
    assert (motion.space, motion.expression.shape) == ("landmark", (len(landmarks), 478, 3))
    opening = tracks(motion, facemesh_space())["lips, face units"]["opening"]
    eye_distance = np.linalg.norm(landmarks[:, 263] - landmarks[:, 33], axis=-1)
    assert np.corrcoef(opening, (landmarks[:, 14, 1] - landmarks[:, 13, 1]) / eye_distance)[0, 1] > 0.97
    assert len(tracks(motion, facemesh_space())) == 5
