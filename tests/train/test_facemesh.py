"""Fitting the motion space on a few clips."""

import numpy as np
import pytest

from kptalk.errors import DatasetError
from kptalk.face.geometry import rotation_matrix
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.face.topology import EYE_CORNERS, LID_PAIRS, LIPS_INNER
from kptalk.motion.facemesh.space import FaceMeshSpace, neutral_mesh
from kptalk.train.facemesh import (
    align_clip,
    fit_space,
    fit_template,
    mirror_indices,
    mirrored,
    relative_pose,
)


@pytest.fixture(scope="module")
def template(tracked):
    return fit_template([source.landmarks for source in tracked])


@pytest.fixture(scope="module")
def aligned(tracked, template):
    return [align_clip(source.landmarks, template) for source in tracked]


@pytest.fixture(scope="module")
def space(aligned, template):
    return FaceMeshSpace(fit_space(aligned, template))


def test_template_is_upright_symmetric_and_normalised(template):
    eyes = template[EYE_CORNERS].mean(1)
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(1)
    assert np.allclose(eyes.mean(0), (0, -1.1, -0.9))
    mirror = mirror_indices(template)
    assert np.abs(mirrored(template, mirror) - template).max() < 0.02
    assert template[152, 1] > template[10, 1]  # chin below forehead
    assert template[1, 2] < template[234, 2]  # nose before ears


def test_alignment_takes_the_pose_out(tracked, template):
    landmarks = tracked[0].landmarks
    turned = 1.7 * landmarks @ rotation_matrix(np.array([12.0, -7, 20])) + (5, 9, 100)
    first, second = align_clip(landmarks, template), align_clip(turned, template)
    assert np.abs(first.meshes - second.meshes).max() < 1e-3
    assert np.allclose(second.scale / first.scale, 1.7, rtol=1e-4)


def test_neutral_has_closed_lips_and_open_eyes(aligned):
    for clip in aligned:
        assert lip_opening(clip.neutral) < np.median(lip_opening(clip.meshes)) + 0.02
        assert lid_opening(clip.neutral).mean() > 0.85 * np.median(lid_opening(clip.meshes).mean(-1))


def test_neutral_of_a_mouth_that_is_never_closed_is_its_least_open(aligned):
    wide = aligned[0].meshes.copy()
    wide[:, 14, 1] = wide[:, 13, 1] + np.linspace(0.3, 0.6, len(wide))
    assert lip_opening(neutral_mesh(wide)) < 0.37


def test_relative_pose_has_its_median_at_zero(aligned):
    for clip in aligned:
        pose = relative_pose(clip)
        assert pose.shape == (len(clip.meshes), 7)
        assert np.abs(np.median(pose, 0)).max() < 1e-3


def test_space_is_a_change_of_basis(space):
    expression = 0.05 * np.random.default_rng(0).standard_normal((5, 21, 3)).astype(np.float32)
    mesh = space.decode(expression)
    assert np.abs(space.encode(mesh) - expression).max() < 1e-3
    assert np.abs(mesh[:, space.vertices_of_control] - expression).max() < 1e-3
    assert np.abs(space.whiten @ space.unwhiten - np.eye(63)).max() < 1e-3


def test_whitened_coordinates_have_spread_one(space, aligned):
    tokens = np.concatenate(
        [space.encode(clip.meshes - clip.neutral).reshape(len(clip.meshes), -1) @ space.whiten for clip in aligned]
    )
    assert np.sqrt((tokens[:, :20] ** 2).mean(0)) == pytest.approx(np.ones(20), abs=0.5)


def test_its_own_clips_are_reproduced(space, aligned):
    for clip in aligned:
        displacement = clip.meshes - clip.neutral
        error = displacement - space.decode(space.encode(displacement))
        assert np.sqrt((error**2).sum(-1).mean()) < 0.006
        assert np.sqrt((error[:, LIPS_INNER] ** 2).sum(-1).mean()) < 0.006


def test_directions_do_what_they_are_named_after(space):
    opened = space.template + space.decode(0.1 * space.open_lips[None])[0]
    assert lip_opening(opened) - lip_opening(space.template) == pytest.approx(0.1, abs=0.05)
    looked = space.decode(0.3 * space.gaze)
    lids = np.unique(LID_PAIRS)
    assert np.abs(looked[:, LIPS_INNER]).max() < 0.5 * np.abs(looked).max() + 1e-3
    assert np.isfinite(space.blink).all()
    assert len(lids) == 28


def test_too_few_frames_say_what_is_needed_of_a_clip_and_in_all(aligned, template):
    with pytest.raises(DatasetError, match=r"space needs 200 in all, a clip counts for 80 at most and has 40 at least"):
        fit_space(aligned[:1], template)
