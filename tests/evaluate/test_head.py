"""Head motion: signals whose speed, fast share, bursts and differences are known."""

import numpy as np
import pytest
from degrade import faceless, trembling
from measuring import measure

from kptalk.evaluate.head_pose import head_template
from kptalk.evaluate.metric import FrameSample
from kptalk.evaluate.metrics.head import HeadMetric, bursts, difference, fast_share
from kptalk.face.geometry import rotation_matrix
from kptalk.face.topology import STABLE_POINTS

BLACK = np.zeros((8, 8, 3), np.uint8)
SECONDS = np.arange(500) / 25


def samples(angles):
    """Frames of a head with these angles, (T, 3) in degrees."""
    found = []
    for angle in angles:
        mesh = np.zeros((478, 3), np.float32)
        mesh[STABLE_POINTS] = 60 * head_template() @ rotation_matrix(np.asarray(angle, float)) + [100, 90, 0]
        found.append(FrameSample(BLACK, mesh))
    return found


def swinging(hertz, spread=4.0):
    """One sine a head, another phase for each angle."""
    return spread * np.sqrt(2) * np.sin(2 * np.pi * hertz * SECONDS[:, None] + np.arange(3))


def bursting(seed=0):
    """A slow walk in which seconds of movement and of rest take turns."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(0, 1, (500, 3)) * (1.05 + np.sin(2 * np.pi * 0.4 * SECONDS))[:, None], 0)
    return np.stack([np.convolve(np.pad(column, 6, "edge"), np.hanning(13) / 6, "valid") for column in steps.T], 1)


def test_speed_of_a_sine():
    values = measure(HeadMetric(), samples(swinging(0.5) * [1, 0.5, 0.25]))
    expected = 2 * np.pi * 0.5 * 4 * np.array([1, 0.5, 0.25])
    np.testing.assert_allclose([values[f"{axis}_speed"] for axis in ("yaw", "pitch", "roll")], expected, rtol=0.03)


@pytest.mark.parametrize(("hertz", "share"), [(0.5, 0), (2.0, 0), (3.0, 1), (6.0, 1)])
def test_power_is_fast_above_two_and_a_half_hertz(hertz, share):
    np.testing.assert_allclose(fast_share(swinging(hertz)), share, atol=1e-3)


def test_half_of_the_power_may_be_fast():
    np.testing.assert_allclose(fast_share(swinging(0.5) + swinging(4.0)), 0.5, atol=0.01)


def test_bursts_tell_what_goes_on_evenly_from_what_rests():
    wobble, noise = bursts(swinging(2.0)), bursts(np.cumsum(np.random.default_rng(0).normal(0, 1, (500, 3)), 0))
    assert wobble < 0.05
    assert wobble < noise < 0.3
    assert bursts(bursting()) > 0.4


def test_size_changes_no_burst_and_no_share():
    np.testing.assert_allclose(bursts(3 * bursting()), bursts(bursting()), rtol=1e-6)
    np.testing.assert_allclose(fast_share(3 * bursting()), fast_share(bursting()), rtol=1e-6)


def test_wobbling_wins_spread_and_nothing_else():
    """The head that a wobble was added to is further from the real one in speed, fast share and bursts."""
    real = 3 * bursting() / bursting().std(0)
    calm = 0.5 * real
    wobbling = calm + swinging(3.0, spread=2.0)
    truth, before, after = (measure(HeadMetric(), samples(angles)) for angles in (real, calm, wobbling))
    assert wobbling.std() > 1.2 * calm.std()
    for key in ("yaw_speed", "head_fast", "head_bursts"):
        assert abs(after[key] - truth[key]) > abs(before[key] - truth[key])


def test_heads_that_move_alike_do_not_differ():
    alike, unlike = HeadMetric(), HeadMetric()
    for seed, spread in enumerate(np.geomspace(0.5, 8, 11)):
        measure(alike, samples(2 * bursting(seed) / bursting(seed).std(0)))
        measure(unlike, samples(spread * bursting(seed) / bursting(seed).std(0)))
    assert alike.compute_overall()["head_people"] == pytest.approx(1, abs=0.05)
    assert unlike.compute_overall()["head_people"] == pytest.approx((8 / 0.5) ** 0.8, rel=0.05)
    assert np.isnan(unlike.compute_overall()["head_people"])  # a method's clips are forgotten before the next one's


def test_difference_is_a_ratio_of_percentiles():
    spreads = np.geomspace(1, 100, 11)[:, None] ** np.array([1, 0.5, 0])
    assert difference(spreads) == pytest.approx(np.exp(0.8 * np.log(100) * 0.5))
    assert np.isnan(difference(spreads[:4]))


def test_a_still_head_has_no_speed_and_no_rhythm():
    values = measure(HeadMetric(), samples(np.zeros((60, 3))))
    assert values["yaw_speed"] == pytest.approx(0, abs=1e-2)
    assert np.isnan([values["head_fast"], values["head_bursts"]]).all()


def test_two_seconds_with_a_face_are_needed():
    frames = samples(swinging(0.5)[:55])
    assert np.isfinite(measure(HeadMetric(), faceless(frames, [0, 1, 30, 54]))["yaw_speed"])
    assert np.isnan(measure(HeadMetric(), faceless(frames, range(6)))["yaw_speed"])


def test_faces_lost_for_moments_change_little():
    frames = samples(swinging(0.5))
    whole, gaps = measure(HeadMetric(), frames), measure(HeadMetric(), faceless(frames, range(7, 500, 20)))
    assert gaps["yaw_speed"] == pytest.approx(whole["yaw_speed"], rel=0.02)


def test_the_trackers_noise_hardly_counts():
    """Noise of a third of a pixel, which would be several degrees a second without smoothing."""
    frames = samples(6 * bursting() / bursting().std(0))
    clean, noisy = measure(HeadMetric(), frames), measure(HeadMetric(), trembling(frames, 0.3))
    assert noisy["yaw_speed"] == pytest.approx(clean["yaw_speed"], rel=0.1)
