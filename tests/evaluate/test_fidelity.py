"""PSNR and SSIM: known values, and numbers that fall as the picture is spoilt."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from degrade import frozen, shifted
from measuring import measure

from kptalk.evaluate.metrics.fidelity import CAP, FidelityMetric, psnr, resized, ssim

CLIP = "grid_flbbc_1"


@pytest.mark.parametrize(("error", "decibels"), [(1, 48.1308), (16, 24.0484), (255, 0)])
def test_psnr_of_an_even_error(error, decibels):
    black = np.zeros((20, 30, 3), np.uint8)
    assert psnr(black + np.uint8(error), black) == pytest.approx(decibels, abs=1e-4)


def test_ssim_of_two_even_pictures_is_their_luminance_term():
    dark, light = (np.full((32, 32, 3), value, np.uint8) for value in (100, 150))
    c1 = (0.01 * 255) ** 2
    assert ssim(light, dark) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), abs=1e-6)


def test_equal_videos_have_the_highest_numbers_there_are(seen):
    samples, _ = seen(CLIP)
    assert measure(FidelityMetric(), samples[:11], samples) == {"psnr": CAP, "ssim": pytest.approx(1)}


def degraded(samples, how, degree):
    rng = np.random.default_rng(0)

    def spoilt(image):
        if not degree:
            return image
        if how == "blur":
            return cv2.GaussianBlur(image, (0, 0), degree)
        return np.clip(image + rng.normal(0, degree, image.shape), 0, 255).astype(np.uint8)

    return [replace(sample, image=spoilt(sample.image)) for sample in samples]


@pytest.mark.parametrize(("how", "degrees"), [("blur", (0, 0.8, 1.6, 3.2)), ("noise", (0, 3, 9, 27))])
def test_blur_and_noise_lower_both_in_order(seen, how, degrees):
    samples, _ = seen(CLIP)
    results = [measure(FidelityMetric(), degraded(samples[:11], how, degree), samples) for degree in degrees]
    for key, least in (("psnr", 1), ("ssim", 0.01)):
        assert np.all(np.diff([result[key] for result in results]) < -least)


def test_another_moment_and_another_person_are_further_off(seen):
    samples, _ = seen(CLIP)
    others, _ = seen("grid_mlbax_1")
    clips = [samples, shifted(samples, 1), shifted(samples, 6), others]
    results = [measure(FidelityMetric(), clip[:60], samples) for clip in clips]
    for key in ("psnr", "ssim"):
        assert np.all(np.diff([result[key] for result in results]) < 0)


def test_freezing_lowers_both_in_order(seen):
    samples, _ = seen(CLIP)
    results = [measure(FidelityMetric(), frozen(samples, k)[:60], samples) for k in (60, 40, 20, 0)]
    for key in ("psnr", "ssim"):
        assert np.all(np.diff([result[key] for result in results]) < 0)


def test_another_size_is_resized_to_the_real_one(seen):
    samples, _ = seen(CLIP)
    large = [replace(s, image=cv2.resize(s.image, (400, 400), interpolation=cv2.INTER_CUBIC)) for s in samples[:6]]
    assert measure(FidelityMetric(), large, samples)["psnr"] > 40
    assert resized(large[0].image, samples[0].image).shape == samples[0].image.shape
    half = [replace(s, image=cv2.resize(s.image, (128, 128), interpolation=cv2.INTER_AREA)) for s in samples[:6]]
    assert 20 < measure(FidelityMetric(), half, samples)["psnr"] < 40


def test_a_picture_smaller_than_ssim_s_window_has_none():
    tiny = np.zeros((8, 20, 3), np.uint8)
    assert np.isnan(ssim(tiny, tiny))
