"""The motion space ``liveportrait``: extractor, pose, keypoints and tokens of the reference."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_weights import manifest, weights
from safetensors.numpy import save_file
from torch import nn

from kptalk.errors import ImageError, WeightsError
from kptalk.face.geometry import rotation_matrix
from kptalk.motion.liveportrait.space import LivePortraitSpace, crops_to_tensor, keypoints, read_statistics
from kptalk.networks.motion_extractor import MotionExtractor, bins_to_degrees
from kptalk.types import Motion, Portrait

ALONE = LivePortraitSpace(nn.Identity())  # for what needs no network


def arrays(parity, name):
    return dict(np.load(parity / "fixtures" / f"{name}.npz"))


@pytest.fixture(scope="module")
def extractor(parity):
    extractor = MotionExtractor()
    extractor.load_state_dict(weights(parity, "motion_extractor"))
    return extractor.eval()


@pytest.fixture(scope="module")
def statistics(parity):
    return arrays(parity, "kdtalker_norm")


@pytest.fixture(scope="module")
def space(extractor, statistics):
    return LivePortraitSpace(extractor, statistics)


@pytest.fixture(scope="module")
def stored(parity):
    return arrays(parity, "lp_motion_extractor")


@pytest.fixture(scope="module")
def conventions(parity):
    return arrays(parity, "lp_pose_conventions")


def motion_of(given, prefix, rows=slice(None)):
    pose = [given[f"{prefix}_{name}"][rows] for name in ("yaw", "pitch", "roll")]
    return Motion(
        scale=given[f"{prefix}_scale"][rows].reshape(-1, 1),
        rotation=np.concatenate(pose, 1),
        translation=given[f"{prefix}_t"][rows],
        expression=given[f"{prefix}_exp"][rows].reshape(-1, 21, 3),
        fps=Fraction(25),
        space="liveportrait",
    )


def test_the_extractor_has_the_size_of_the_reference(parity):
    found = sum(p.numel() for p in MotionExtractor().parameters())
    assert found == manifest(parity, "motion_extractor")["parameters"] == 28_118_728


@torch.inference_mode()
def test_heads_equal_the_reference(extractor, stored):
    heads = extractor(crops_to_tensor(stored["image_rgb_u8"][None], torch.device("cpu")))
    names = {"pitch": 7.8e-6, "yaw": 8.9e-6, "roll": 8e-6, "t": 1.2e-7, "exp": 9.8e-8, "scale": 9.8e-8, "kp": 6.8e-7}
    fields = {"t": "translation", "exp": "expression", "kp": "canonical"}
    for name, noise in names.items():
        found = getattr(heads, fields.get(name, name))
        np.testing.assert_allclose(found, stored[f"raw_{name}"], atol=10 * noise, rtol=1e-5, err_msg=name)


def test_a_crop_is_read_as_the_reference_reads_it(space, stored):
    source = space.extract(Portrait(stored["image_rgb_u8"], None))
    expected = motion_of(stored, "info")
    for name in ("scale", "translation", "expression"):
        np.testing.assert_allclose(getattr(source.motion, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(source.motion.rotation, expected.rotation, atol=2e-4)  # degrees, of logits right to 1e-5
    np.testing.assert_allclose(source.canonical.reshape(1, 63), stored["info_kp"], atol=1e-5)
    np.testing.assert_allclose(rotation_matrix(source.motion.rotation), stored["R_s"], atol=1e-5)
    np.testing.assert_allclose(keypoints(source.canonical, source.motion), stored["x_s"], atol=1e-5)


def test_pictures_of_a_video_stand_alone(space, stored):
    one = stored["image_rgb_u8"]
    canonical, motion = space.read(np.stack([one[::-1], one]), Fraction(30))
    alone = space.extract(Portrait(one, None))
    assert (len(motion), motion.fps, motion.space) == (2, 30, "liveportrait")
    np.testing.assert_allclose(canonical[1], alone.canonical, atol=1e-5)
    np.testing.assert_allclose(motion.rotation[1:], alone.motion.rotation, atol=2e-4)
    assert len(space.read(np.zeros((0, 256, 256, 3), np.uint8), Fraction(25))[1]) == 0


@pytest.mark.parametrize("shape", [(255, 256, 3), (256, 256, 4), (256, 256)])
def test_other_pictures_are_refused(space, shape):
    with pytest.raises(ImageError, match="256"):
        space.extract(Portrait(np.zeros(shape, np.uint8), None))


def test_pose_bins_equal_the_reference(conventions):
    degrees = bins_to_degrees(torch.from_numpy(conventions["headpose_logits"]))
    np.testing.assert_allclose(degrees[:, 0], conventions["headpose_degree"], atol=2e-4)
    certain = bins_to_degrees(200 * torch.eye(66))
    np.testing.assert_allclose(certain[:, 0], np.arange(66) * 3 - 97.5, atol=1e-4)


def test_keypoints_equal_the_reference(conventions):
    motion = motion_of(conventions, "kp_info")
    found = keypoints(conventions["kp_info_kp"].reshape(-1, 21, 3), motion)
    np.testing.assert_allclose(found, conventions["transform_keypoint"], atol=1e-5)


def test_driving_keypoints_equal_the_reference(conventions):
    source = motion_of(conventions, "kp_info", slice(1))
    canonical = conventions["kp_info_kp"][0].reshape(21, 3)
    driver = motion_of(conventions, "drv")
    found = keypoints(canonical, ALONE.absolute(driver, source))
    np.testing.assert_allclose(found, conventions["x_d_absolute"], atol=1e-5)
    found = keypoints(canonical, ALONE.relative(driver, driver[:1], source))
    np.testing.assert_allclose(found, conventions["x_d_relative"], atol=1e-5)


def random_motion(seed, length=5):
    rng = np.random.default_rng(seed)
    return Motion(
        scale=rng.uniform(1, 2, (length, 1)),
        rotation=rng.uniform(-40, 40, (length, 3)),
        translation=rng.uniform(-0.2, 0.2, (length, 3)),
        expression=rng.uniform(-0.05, 0.05, (length, 21, 3)),
        fps=Fraction(25),
        space="liveportrait",
    )


@given(st.integers(0, 99))
@settings(deadline=None)
def test_relative_motion_starts_at_the_source(seed):
    driver, source = random_motion(seed), random_motion(seed + 100, 1)
    first = ALONE.relative(driver, driver[:1], source)[:1]
    for name in ("scale", "rotation", "translation", "expression"):
        np.testing.assert_allclose(getattr(first, name), getattr(source, name), atol=1e-4)


@given(st.integers(0, 99))
@settings(deadline=None)
def test_relative_to_itself_is_the_driver(seed):
    driver = random_motion(seed)
    same = ALONE.relative(driver, driver[:1], driver[:1])
    np.testing.assert_allclose(same.rotation, driver.rotation, atol=1e-4)
    np.testing.assert_allclose(same.expression, driver.expression, atol=1e-6)


def test_tokens_and_back(space):
    motion = random_motion(3)
    tokens = space.tokens(motion)
    assert (tokens.shape, tokens.dtype) == ((5, 70), np.float32)
    back = space.motion(tokens)
    for name in ("scale", "rotation", "translation", "expression"):
        np.testing.assert_allclose(getattr(back, name), getattr(motion, name), atol=1e-5)


def test_tokens_are_in_the_order_of_the_reference(space, statistics):
    zero = space.motion(np.zeros((1, 70), np.float32))
    assert zero.rotation[0].tolist() == pytest.approx([statistics[f"{n}_mean"][0] for n in ("yaw", "pitch", "roll")])
    one = space.motion(np.eye(70, dtype=np.float32))
    moved = {name: np.abs(getattr(one, name) - getattr(zero, name)).reshape(70, -1) for name in ("scale", "rotation")}
    assert moved["scale"][:, 0].argmax() == 0
    assert moved["rotation"].argmax(0).tolist() == [1, 2, 3]


def test_denormalised_motion_equals_the_reference(parity, space):
    sampled = arrays(parity, "kdtalker_sampling")
    motion = space.motion(sampled["motion_norm_100x70"])
    np.testing.assert_allclose(motion.scale[:, 0], sampled["motion_denorm_scale"], atol=1e-5, rtol=1e-6)
    for column, name in enumerate(("yaw", "pitch", "roll")):
        expected = sampled[f"motion_denorm_{name}"]
        np.testing.assert_allclose(motion.rotation[:, column : column + 1], expected, atol=1e-4, rtol=1e-6)
    np.testing.assert_allclose(motion.translation, sampled["motion_denorm_t"], atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(motion.expression.reshape(-1, 63), sampled["motion_denorm_exp"], atol=1e-5, rtol=1e-6)


def test_statistics_come_from_a_file(tmp_path, statistics):
    save_file(statistics, tmp_path / "statistics.safetensors")
    assert set(read_statistics(tmp_path / "statistics.safetensors")) == set(statistics)
    with pytest.raises(WeightsError, match="statistics"):
        read_statistics(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("exp_mean", np.zeros(62), "62 numbers exp_mean, expected 63"), ("yaw_std", np.zeros(1), "not above zero")],
)
def test_bad_statistics_are_refused(statistics, name, value, said):
    with pytest.raises(WeightsError, match=said):
        LivePortraitSpace(MotionExtractor(), {**statistics, name: value})
    without = {key: kept for key, kept in statistics.items() if key != name}
    with pytest.raises(WeightsError, match=f"0 numbers {name}"):
        LivePortraitSpace(MotionExtractor(), without)
