"""Flicker: 0 for what is still or changes evenly, known for swinging light, and ordered for real clips."""

import numpy as np
import pytest
from degrade import frozen
from measuring import measure

from kptalk.evaluate.metric import FrameSample
from kptalk.evaluate.metrics.flicker import FlickerMetric

CLIP = "grid_flbbc_1"


def flicker(images):
    samples = [FrameSample(image, None) for image in images]
    return measure(FlickerMetric(), samples, samples)["flicker"]


def grey(value, side=96):
    return np.full((side, side, 3), value, np.uint8)


def test_still_and_steadily_changing_pictures_do_not_flicker():
    assert flicker([grey(80)] * 10) == 0
    assert flicker([grey(80 + 3 * k) for k in range(10)]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("amplitude", [1, 5, 50])
def test_swinging_light_gives_four_times_its_amplitude(amplitude):
    swinging = [grey(128 + amplitude * (-1) ** k) for k in range(9)]
    assert flicker(swinging) == pytest.approx(4 * amplitude, rel=1e-4)


def test_two_frames_are_too_few():
    assert np.isnan(flicker([grey(1), grey(200)]))


def test_noise_and_pulsing_light_raise_it_in_order(seen):
    samples, _ = seen(CLIP)
    rng = np.random.default_rng(0)
    for spoil in (
        lambda image, k, degree: image + rng.normal(0, degree, image.shape),
        lambda image, k, degree: image.astype(float) + degree * (-1) ** k,
    ):
        numbers = [
            flicker([np.clip(spoil(s.image, k, d), 0, 255).astype(np.uint8) for k, s in enumerate(samples[:30])])
            for d in (0, 4, 12, 36)
        ]
        assert np.all(np.diff(numbers) > 0.3)


def test_freezing_lowers_it_in_order(seen):
    samples, _ = seen(CLIP)
    numbers = [measure(FlickerMetric(), frozen(samples, moving), samples)["flicker"] for moving in (75, 50, 25, 0)]
    assert np.all(np.diff(numbers) < 0)
    assert numbers[-1] == 0


def test_the_size_of_the_picture_does_not_matter_much(seen):
    samples, _ = seen(CLIP)
    images = [sample.image for sample in samples[:30]]
    large = [image.repeat(2, 0).repeat(2, 1) for image in images]
    assert flicker(large) == pytest.approx(flicker(images), rel=1e-3)
