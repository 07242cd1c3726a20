"""What a viewer would notice: the photo comes back unchanged, nothing tears, edges stand still, lids and lips close."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from kptalk.errors import MotionError
from kptalk.face.framing import EDGES
from kptalk.face.geometry import rotation_matrix
from kptalk.face.landmarks import FaceMesh
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.face.topology import EYE_CORNERS, LID_PAIRS, LIPS_INNER
from kptalk.motion.facemesh.space import FaceMeshSpace, to_head_frame
from kptalk.render.mesh.eyes import FOLDS
from kptalk.render.mesh.matte import split_layers
from kptalk.render.mesh.mouth import skin_colour
from kptalk.render.mesh.pose import clamp_pose, rigid_motion
from kptalk.render.mesh.renderer import MeshRenderer, PreparedMesh, sampling_map
from kptalk.render.mesh.topology import build_mesh
from kptalk.types import Face, Image, Motion, Portrait

from .conftest import CLOSED, OPEN, psnr

POSES = [(-20, 0, 0), (20, 0, 0), (0, -12, 0), (0, 12, 0), (0, 0, -10), (0, 0, 10), (-20, 12, 8), (20, -10, -8)]


def moved(photo: PreparedMesh, rotation=(0, 0, 0), expression=None) -> Motion:
    """One frame, turned by ``rotation`` degrees from the photo, with an expression (21, 3) or the photo's own."""
    own = photo.source.motion
    turned = own.rotation + np.float32([rotation])
    head = to_head_frame(own) if expression is None else expression[None]
    return own.with_fields(rotation=turned, expression=head @ rotation_matrix(turned))


def draw(renderer: MeshRenderer, photo: PreparedMesh, motion: Motion) -> Image:
    return renderer.step(motion, renderer.start(photo, 0))[0]


def test_no_motion_is_the_photo(renderer: MeshRenderer, photos: dict[str, PreparedMesh]) -> None:
    for name, photo in photos.items():
        frame = draw(renderer, photo, photo.source.motion)[0]
        assert psnr(frame, photo.portrait.image) > (60 if name in OPEN else 70), name


def test_frames_have_the_photos_size_and_still_edges(renderer: MeshRenderer, photos: dict[str, PreparedMesh]) -> None:
    photo = photos["grid_flrwp_1@0"]
    picture = photo.portrait.image[20:, 30:340]
    face = Face(photo.portrait.face.landmarks - np.float32([30, 20, 0]))
    oblong = renderer.prepare(Portrait(np.ascontiguousarray(picture), face))
    for pose in POSES:
        frames = draw(renderer, oblong, moved(oblong, pose))
        assert frames.shape == (1, *picture.shape)
        assert frames.dtype == np.uint8
        for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            assert (frames[0][edge] == picture[edge]).all()
        # Close to the edge nothing jumps either: the region is pasted back into a photo.
        assert psnr(frames[0][-4:], picture[-4:]) > 30


def test_corners_stand_still_though_the_edges_are_free(renderer: MeshRenderer, photos: dict[str, PreparedMesh]) -> None:
    for name in CLOSED:
        photo = renderer.prepare(photos[name].portrait, EDGES)
        image = photo.portrait.image
        side = len(image) // 10
        for pose in ((20, 0, -8), (-20, 5, 8)):
            frame = draw(renderer, photo, moved(photo, pose))[0].astype(np.int16)
            for rows in (np.s_[:side], np.s_[-side:]):
                for columns in (np.s_[:side], np.s_[-side:]):
                    assert np.abs(frame[rows, columns] - image[rows, columns]).mean() <= 1, (name, pose)


def test_a_person_cut_by_an_edge_moves_along_it(photos: dict[str, PreparedMesh]) -> None:
    landmarks = photos["grid_s2_1@0"].portrait.face.landmarks
    person = np.zeros((384, 384), np.uint8)
    person[:, 100:284] = 255
    mesh = build_mesh(landmarks, person, EDGES)
    outer = mesh.source[478:]
    cut = mesh.rigid[(np.abs(outer[:, 1]) < 12) & (np.abs(outer[:, 0] - 192) < 30)]
    assert (cut[:, 0] > 0.5).all()
    assert (cut[:, 1] < 0.01).all()


def test_hair_leaves_no_ghost_in_the_background(photos: dict[str, PreparedMesh]) -> None:
    portrait = photos["grid_s2_1@0"].portrait
    outside = photos["grid_s2_1@0"].layers.person[..., 3] < 10
    image = np.where(outside[..., None], np.uint8(225), portrait.image)
    top = int(np.argmax(~outside[:, 192]))
    for x in range(150, 235, 12):
        cv2.line(image, (x, top + 25), (x + 4, top - 12), (20, 20, 20), 2)
    strands = (image.sum(-1) < 100) & outside
    layers = split_layers(image, portrait.face.landmarks)
    assert strands.sum() > 50
    assert layers.background[strands].mean() > 180


def test_nothing_tears_over_the_pose_range(
    renderer: MeshRenderer, space: FaceMeshSpace, photos: dict[str, PreparedMesh]
) -> None:
    for name, photo in photos.items():
        size = max(photo.portrait.image.shape)
        for pose in POSES:
            motion = clamp_pose(photo.source, moved(photo, pose))
            face = space.vertices(photo.source, motion)[0]
            columns, rows, unfilled = sampling_map(photo, face, rigid_motion(photo.source, motion, 0))
            assert unfilled == 0, (name, pose)
            assert columns.min() > -0.1 * size
            assert columns.max() < 1.1 * size
            assert rows.min() > -0.1 * size
            assert rows.max() < 1.1 * size


def test_the_head_follows_the_pose(
    renderer: MeshRenderer, space: FaceMeshSpace, photos: dict[str, PreparedMesh]
) -> None:
    photo = photos["grid_s2_1@0"]
    with FaceMesh() as mesh:
        for axis, angle in ((0, 12), (1, 8), (2, -8)):
            rotation = [0, 0, 0]
            rotation[axis] = angle
            frame = draw(renderer, photo, moved(photo, rotation))[0]
            read = space.extract(Portrait(frame, mesh(frame))).motion.rotation - photo.source.motion.rotation
            assert read[0, axis] == pytest.approx(angle, abs=5)


def test_background_is_identical_in_every_frame(renderer: MeshRenderer, photos: dict[str, PreparedMesh]) -> None:
    for photo in photos.values():
        person = (photo.layers.person[..., 3] > 0).astype(np.uint8)
        behind = cv2.dilate(person, np.ones((31, 31), np.uint8)) == 0
        frames = [
            draw(renderer, photo, moved(photo, pose, None))[0][behind] for pose in ((0, 0, 0), (1, 0, 0), (0, 1, 1))
        ]
        assert all((frame == frames[0]).all() for frame in frames)


def test_a_still_driver_does_not_shimmer(renderer: MeshRenderer, photos: dict[str, PreparedMesh]) -> None:
    noise = np.random.default_rng(0)
    for photo in photos.values():
        own = to_head_frame(photo.source.motion)[0]
        jitter = [(own + 0.0003 * noise.standard_normal((21, 3))).astype(np.float32) for _ in range(6)]
        frames = np.stack([draw(renderer, photo, moved(photo, expression=e))[0] for e in jitter]).astype(np.float32)
        assert frames.std(0).mean() < 1


def test_lids_close(renderer: MeshRenderer, space: FaceMeshSpace, photos: dict[str, PreparedMesh]) -> None:
    closed = 0
    with FaceMesh() as mesh:
        for photo in photos.values():
            own = to_head_frame(photo.source.motion)[0]
            frame = draw(renderer, photo, moved(photo, expression=own + 1.15 * space.blink))[0]
            read = lid_opening(mesh(frame).landmarks).mean()
            closed += read < 0.4 * lid_opening(photo.portrait.face.landmarks).mean()
    assert closed >= len(photos) - 1


def test_closing_lids_carry_their_make_up_down(
    renderer: MeshRenderer, space: FaceMeshSpace, photos: dict[str, PreparedMesh]
) -> None:
    portrait = photos["grid_flrwp_1@0"].portrait
    landmarks = portrait.face.landmarks
    painted = portrait.image.copy()
    for number in (0, 1):
        lid, fold = landmarks[LID_PAIRS[number][:, 0], :2], landmarks[FOLDS[number], :2].mean(1)
        area = np.rint(np.concatenate([lid, fold[::-1]])).astype(np.int32)
        cv2.fillPoly(painted, [area], (130, 20, 20))
        for x, y in lid[1:-1]:
            cv2.line(painted, (round(x), round(y)), (round(x), round(y) - 4), (10, 10, 10), 1)
    photo = renderer.prepare(Portrait(painted, portrait.face))
    own = to_head_frame(photo.source.motion)[0]
    motion = moved(photo, expression=own + 1.3 * space.blink)
    frame = draw(renderer, photo, motion)[0].astype(np.float32)
    for number in (0, 1):
        lid = landmarks[LID_PAIRS[number], :2]
        middle = np.rint(0.6 * lid[2:5, 0] + 0.4 * lid[2:5, 1]).astype(int)
        seen = frame[middle[:, 1], middle[:, 0]]
        assert (seen[:, 0] > 2 * seen[:, 1]).all(), number


def test_closing_lids_are_skin_however_thick_the_lashes(
    renderer: MeshRenderer, space: FaceMeshSpace, photos: dict[str, PreparedMesh]
) -> None:
    portrait = photos["grid_flrwp_1@0"].portrait
    landmarks = portrait.face.landmarks
    painted = portrait.image.copy()
    for number, corners in enumerate(EYE_CORNERS):
        width = np.linalg.norm(np.diff(landmarks[corners, :2], axis=0))
        lid = np.rint(landmarks[LID_PAIRS[number][:, 0], :2] - [0, 0.1 * width]).astype(np.int32)
        cv2.polylines(painted, [lid], False, (40, 30, 28), max(2, round(0.12 * width)))
    photo = renderer.prepare(Portrait(painted, portrait.face))
    own = to_head_frame(photo.source.motion)[0]
    frame = draw(renderer, photo, moved(photo, expression=own + 1.3 * space.blink))[0].astype(np.float32)
    cheek = skin_colour(portrait.image, landmarks).mean()
    for pairs in LID_PAIRS:
        lid = landmarks[pairs, :2]
        middle = np.rint(lid[2:5, 0]).astype(int)  # below, the shade of the lid's edge begins
        assert frame[middle[:, 1], middle[:, 0]].mean() > 0.65 * cheek


def test_lips_close_and_open(renderer: MeshRenderer, space: FaceMeshSpace, photos: dict[str, PreparedMesh]) -> None:
    neutral = np.zeros((21, 3), np.float32)
    with FaceMesh() as mesh:
        for name, photo in photos.items():
            shut = mesh(draw(renderer, photo, moved(photo, expression=neutral))[0]).landmarks
            assert lip_opening(shut) / photo.source.unit < (0.045 if name in OPEN else 0.025), name
            expression = 0.25 * space.open_lips
            motion = moved(photo, expression=expression)
            wanted = lip_opening(space.vertices(photo.source, motion)[0])
            opened = mesh(draw(renderer, photo, motion)[0]).landmarks
            assert lip_opening(opened) == pytest.approx(wanted, rel=0.4), name


def test_the_mouth_is_no_black_hole(
    renderer: MeshRenderer, space: FaceMeshSpace, photos: dict[str, PreparedMesh]
) -> None:
    for name, photo in photos.items():
        motion = moved(photo, expression=0.2 * space.open_lips)
        face = space.vertices(photo.source, motion)[0]
        frame = draw(renderer, photo, motion)[0]
        inner = np.zeros(frame.shape[:2], np.uint8)
        cv2.fillPoly(inner, [np.rint(face[LIPS_INNER, :2]).astype(np.int32)], 1)
        nose = np.rint(face[4, :2]).astype(int)
        assert frame[inner > 0].mean() > 0.3 * frame[nose[1], nose[0]].mean(), name
        assert np.percentile(frame[inner > 0].mean(-1), 95) > 0.6 * frame[nose[1], nose[0]].mean(), name


def test_chunks_and_threads_give_the_same_frames(renderer: MeshRenderer, photos: dict[str, PreparedMesh]) -> None:
    photo = photos["astronaut"]
    motion = Motion.concatenate([moved(photo, pose) for pose in POSES])
    whole, state = renderer.step(motion, renderer.start(photo, 0))
    left = renderer.finish(state)
    assert (left.shape, left.dtype) == ((0, *photo.portrait.image.shape), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: renderer.step(motion[i : i + 1], state)[0], range(len(motion))))
    assert (whole == np.concatenate(parts)).all()


def test_turned_photos_are_not_turned_back_far(turned: PreparedMesh) -> None:
    photo = turned
    own = photo.source.motion.rotation[0]
    assert abs(own[0]) > 12
    sign = np.sign(own[0])
    back = clamp_pose(photo.source, moved(photo, (-25 * sign, 0, 0))).rotation[0] - own
    away = clamp_pose(photo.source, moved(photo, (18 * sign, 0, 0))).rotation[0] - own
    assert 5 < abs(back[0]) <= 8
    assert abs(away[0]) > 15


def test_a_small_motion_is_not_clamped(photos: dict[str, PreparedMesh]) -> None:
    for photo in photos.values():
        motion = moved(photo, (3, -4, 5))
        clamped = clamp_pose(photo.source, motion)
        np.testing.assert_allclose(clamped.rotation, motion.rotation, atol=1e-4)
        np.testing.assert_allclose(clamped.expression, motion.expression, atol=1e-5)


def test_motion_of_another_space_is_refused(renderer: MeshRenderer, photos: dict[str, PreparedMesh]) -> None:
    photo = photos["grid_s2_1@0"]
    with pytest.raises(MotionError, match="'liveportrait', expected 'facemesh'"):
        draw(renderer, photo, replace(photo.source.motion, space="liveportrait"))
