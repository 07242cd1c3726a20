"""LivePortrait's renderer around its two heavy networks, for which there are stand-ins: lids, edges, threads."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import facemesh_space, plain_portrait, random_motion
from parity_weights import weights

from kptalk.errors import MotionError
from kptalk.face.alignment import aligned_crop, aligned_full
from kptalk.face.framing import EDGES
from kptalk.motion.liveportrait.space import LivePortraitSource, keypoints
from kptalk.networks import stitching
from kptalk.networks.stitching import EYE, StitchingNetwork
from kptalk.render.liveportrait.renderer import LivePortraitRenderer, eye_openings, to_frames

MOTION = random_motion(5, 7, space="liveportrait")


class Space:
    """Reads the same keypoints from every crop."""

    id = "liveportrait"

    def extract(self, portrait):
        assert portrait.image.shape == (256, 256, 3)
        own = random_motion(9, 2, space="liveportrait")[4:5]
        canonical = np.random.default_rng(1).uniform(-0.5, 0.5, (21, 3)).astype(np.float32)
        return LivePortraitSource(canonical, own.with_fields(scale=np.full((1, 1), 1.3)), np.zeros((21, 3)))


class Appearance(torch.nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 1)

    def forward(self, image):
        return torch.zeros(1, 32, 16, 64, 64)


def mean_keypoint(volume, driving, source):
    assert torch.is_inference_mode_enabled()
    return driving.mean((1, 2))


def grey(features):
    """A picture whose grey is the feature."""
    return torch.sigmoid(100 * features)[:, None, None, None].expand(-1, 3, 512, 512)


@pytest.fixture(scope="module")
def small_networks(parity):
    networks = StitchingNetwork(), StitchingNetwork(EYE)
    for network, name in zip(networks, ("stitching", "eye"), strict=True):
        network.load_state_dict(weights(parity, f"stitching_retargeting_module_{name}"))
    return networks


@pytest.fixture
def make(small_networks):
    """A renderer with other stand-ins."""
    return lambda warp=mean_keypoint, decode=grey, **options: LivePortraitRenderer(
        Space(), Appearance(), warp, decode, *small_networks, **options
    )


@pytest.fixture(scope="module")
def photo():
    return plain_portrait(facemesh_space(), 240)


@pytest.fixture
def prepared(make, photo):
    return make().prepare(aligned_crop(photo).portrait, EDGES)


def test_a_blink_is_what_the_network_adds_for_closed_eyes(make, photo):
    renderer, seen = make(), aligned_crop(photo).portrait
    source = renderer.prepare(seen).source
    closed = keypoints(source.canonical, source.motion.with_fields(expression=source.motion.expression + source.blink))
    own = torch.from_numpy(keypoints(source.canonical, source.motion))
    ratios = torch.tensor([[*eye_openings(seen.face.landmarks), 0.0]], dtype=torch.float32)
    with torch.inference_mode():
        wanted = own + stitching.retarget(renderer.eyes, own, ratios)
    assert np.abs(source.blink).max() > 1e-3
    np.testing.assert_allclose(closed, wanted, atol=1e-5)


def test_eyes_are_measured_as_on_the_reference_landmarks(photo, reference):
    stored = reference("lp_stitching_retargeting").arrays
    for landmarks, expected in zip(stored["landmarks_203"], stored["calc_eye_close_ratio"], strict=True):
        mesh = np.zeros((478, 3), np.float32)
        for k, vertex in {0: 33, 12: 133, 6: 159, 18: 145, 24: 362, 36: 263, 30: 386, 42: 374}.items():
            mesh[vertex, :2] = landmarks[k]
        np.testing.assert_allclose(eye_openings(mesh), expected, atol=1e-5)
    assert (eye_openings(photo.face.landmarks) > 0.1).all()


@pytest.mark.parametrize("free", [(), ("left", "top"), EDGES])
def test_keypoints_are_stitched_unless_all_edges_may_move(make, photo, free):
    warped = []

    def warp(volume, driving, source):
        warped.append(driving)
        return driving.mean((1, 2))

    renderer = make(warp, batch_size=5)
    prepared = renderer.prepare(aligned_full(photo).portrait, free)
    renderer.step(MOTION, renderer.start(prepared, 0))
    plain = wanted = torch.from_numpy(keypoints(prepared.source.canonical, MOTION))
    if free != EDGES:
        with torch.inference_mode():
            wanted = stitching.stitch(renderer.stitching, prepared.keypoints.expand(5, -1, -1), plain)
        assert (wanted - plain).abs().max() > 1e-3
    torch.testing.assert_close(warped[0], wanted)


def test_a_stream_of_chunks_gives_the_frames_of_the_whole(make, prepared):
    renderer = make()
    state = renderer.start(prepared, 3)
    whole, _ = renderer.step(MOTION, state)
    assert (whole.shape, whole.dtype) == ((5, 512, 512, 3), np.uint8)
    assert len(np.unique(whole)) > 1
    first, after = renderer.step(MOTION[:2], state)
    rest, after = renderer.step(MOTION[2:], after)
    left = renderer.finish(after)
    assert (left.shape, left.dtype) == ((0, 512, 512, 3), np.uint8)
    np.testing.assert_array_equal(np.concatenate([first, rest, left]), whole)
    np.testing.assert_array_equal(renderer.step(MOTION[:2], state)[0], first)


def test_frames_drawn_side_by_side_are_those_drawn_in_turn(make, prepared):
    """Of two batches the later one is ready earlier."""
    left = threading.Semaphore(0)
    points = torch.from_numpy(keypoints(prepared.source.canonical, MOTION))

    def warp(volume, driving, own):
        if torch.equal(driving[0], points[0]):
            assert left.acquire(timeout=20)  # until another frame is drawn
        else:
            left.release()
        return mean_keypoint(volume, driving, own)

    wanted = to_frames(grey(points.mean((1, 2))))
    np.testing.assert_array_equal(make(warp, batch_size=2, workers=2).step(MOTION, prepared)[0], wanted)


def test_an_error_in_a_thread_reaches_the_caller(make, prepared):
    def fail(*_):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        make(fail, workers=2).step(MOTION[:2], prepared)


def test_pictures_out_of_range_are_clipped_and_truncated():
    picture = torch.tensor([-0.5, 0.0, 0.9999, 1.0, 2.0]).reshape(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_frames(picture)[0, 0, :, 0].tolist() == [0, 0, 254, 255, 255]


def test_motion_of_another_space_is_refused(make, prepared):
    with pytest.raises(MotionError, match="'facemesh', expected 'liveportrait'"):
        make().step(replace(MOTION, space="facemesh"), prepared)
