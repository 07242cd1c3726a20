"""LivePortrait's small networks at work: lids that close, edges that stay. Drawing itself is left to a stand-in."""

import numpy as np
import pytest
import torch
from fakes import facemesh_space, plain_portrait, random_motion
from parity_weights import weights

from kptalk.face.alignment import aligned_crop, aligned_full
from kptalk.face.framing import EDGES
from kptalk.motion.liveportrait.space import keypoints
from kptalk.networks import stitching
from kptalk.networks.stitching import EYE, StitchingNetwork
from kptalk.render.liveportrait.portrait import PortraitRenderer, eye_openings
from kptalk.render.liveportrait.renderer import PreparedCrop
from kptalk.types import SourceMotion


class Crops:
    """Reads the same keypoints from every crop, and remembers what it was to draw."""

    device = torch.device("cpu")

    def prepare(self, crop):
        assert crop.shape == (256, 256, 3)
        own = random_motion(9, 2, space="liveportrait")[4:5]
        canonical = np.random.default_rng(1).uniform(-0.5, 0.5, (21, 3)).astype(np.float32)
        source = SourceMotion(canonical, own.with_fields(scale=np.full((1, 1), 1.3)))
        own_keypoints = torch.from_numpy(keypoints(canonical, source.motion))
        return PreparedCrop(source, torch.zeros(1, 32, 16, 64, 64), own_keypoints)

    def draw(self, state, motion):
        self.drawn = motion
        return np.zeros((len(motion), 512, 512, 3), np.uint8)


@pytest.fixture(scope="module")
def renderer(parity):
    networks = StitchingNetwork(), StitchingNetwork(EYE)
    for network, name in zip(networks, ("stitching", "eye"), strict=True):
        network.load_state_dict(weights(parity, f"stitching_retargeting_module_{name}"))
    return PortraitRenderer(Crops(), *networks)


@pytest.fixture(scope="module")
def photo():
    return plain_portrait(facemesh_space(), 240)


def test_a_blink_is_what_the_network_adds_for_closed_eyes(renderer, photo):
    seen = aligned_crop(photo).portrait
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


@pytest.mark.parametrize("free", [(), ("left", "top")])
def test_stitched_keypoints_are_the_networks(renderer, photo, free):
    state, motion = renderer.prepare(aligned_full(photo).portrait, free), random_motion(5, 7, space="liveportrait")
    renderer.draw(state, motion)
    driving = torch.from_numpy(keypoints(state.source.canonical, motion))
    with torch.inference_mode():
        wanted = stitching.stitch(renderer.stitching, state.crop.keypoints.expand(5, -1, -1), driving)
    assert (wanted - driving).abs().max() > 1e-3
    np.testing.assert_allclose(keypoints(state.source.canonical, renderer.crops.drawn), wanted, atol=1e-5)


def test_what_may_move_is_not_stitched(renderer, photo):
    motion = random_motion(5, 7, space="liveportrait")
    renderer.draw(renderer.prepare(aligned_crop(photo).portrait, EDGES), motion)
    assert renderer.crops.drawn is motion
