"""FID: the network and the distance of torchmetrics, and a number that grows as frames are spoilt.

The published weights are not here. Every tensor is filled by a rule from its name alone, and what torchmetrics 1.9.0
with torch-fidelity 0.4.0 gave with the same tensors and pictures is written down below.
"""

import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import measure
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance

from kptalk.errors import WeightsError
from kptalk.evaluate.metric import EVERY
from kptalk.evaluate.metrics import fid
from kptalk.evaluate.metrics.fid import MIN_FRAMES, FidMetric, Gaussian, frechet_distance
from kptalk.networks.inception import Inception, InceptionConfig
from kptalk.weights.store import load_model, save_model

SMALL = [0.0010540626, 2.1033518, 1.0686638, 1.4715666, 3.7154102, 0.070407308, 0.12483998, 0.033554371]
LARGE = [0.016588479, 1.3172073, 1.0683186, 0.68988585, 2.7881286, 0.047908686, 0.057721954, 0.027481319]
DISTANCE = 778.47461


def by_rule(name, shape):
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith(("running_var", "bn.weight")):
        numbers = 1 + 0.1 * np.abs(numbers)
    elif len(shape) == 1:
        numbers = 0.1 * numbers
    else:
        numbers = numbers * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(numbers, np.float32))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    network = Inception()
    network.load_state_dict({name: by_rule(name, value.shape) for name, value in network.state_dict().items()})
    save_model(path, network, network.config)
    return path


@pytest.fixture(scope="module")
def network(weights):
    return load_model(weights, Inception, InceptionConfig).requires_grad_(False)


def pictures():
    rng = np.random.RandomState(0)
    return [torch.tensor(rng.randint(0, top, shape), dtype=torch.uint8) for top, shape in PICTURES]


PICTURES = [(256, (3, 3, 40, 60)), (128, (3, 3, 400, 320))]


def summed(features):
    gaussian = Gaussian(features.shape[1])
    gaussian.add(torch.as_tensor(features))
    return gaussian


@pytest.mark.slow
def test_features_and_distance_are_those_of_torchmetrics(network):
    small, large = (network(batch) for batch in pictures())
    assert small[0, ::256].numpy() == pytest.approx(SMALL, rel=1e-4, abs=1e-5)
    assert large[0, ::256].numpy() == pytest.approx(LARGE, rel=1e-4, abs=1e-5)
    assert frechet_distance(summed(large), summed(small)) == pytest.approx(DISTANCE, rel=1e-4)


def test_the_sums_are_those_of_torchmetrics():
    """Its own network needs torchvision, which does not load beside every torch; any network will do to compare."""

    class Pooled(torch.nn.Module):
        def forward(self, batch):
            return torch.nn.functional.adaptive_avg_pool2d(batch.float(), 3).flatten(1)

    rng = torch.Generator().manual_seed(0)
    real = torch.randint(0, 255, (60, 3, 12, 12), dtype=torch.uint8, generator=rng)
    generated = real // 2 + torch.randint(0, 90, (60, 3, 12, 12), dtype=torch.uint8, generator=rng)
    theirs = FrechetInceptionDistance(feature=Pooled())
    for batch in range(0, 60, 20):
        theirs.update(real[batch : batch + 20], real=True)
        theirs.update(generated[batch : batch + 20], real=False)
    ours = frechet_distance(summed(Pooled()(generated)), summed(Pooled()(real)))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(0, 999))
def test_the_distance_is_the_direct_formula(n, m, size, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(3, 2, (n, size)), rng.normal(2, 1, (m, size)) @ rng.normal(0, 1, (size, size))
    cov_a, cov_b = (np.cov(x, rowvar=False).reshape(size, size) for x in (a, b))
    # The eigenvalues of S_a S_b are those of the symmetric S_a^(1/2) S_b S_a^(1/2), which has no complex root.
    values, vectors = np.linalg.eigh(cov_a)
    half = vectors * np.sqrt(values.clip(0)) @ vectors.T
    root = np.sqrt(np.linalg.eigvalsh(half @ cov_b @ half).clip(0)).sum()
    direct = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b) - 2 * root
    scale = np.trace(cov_a + cov_b)
    assert frechet_distance(summed(a), summed(b)) == pytest.approx(direct, rel=1e-6, abs=2e-6 * scale)


def test_the_distance_of_full_rank_gaussians_is_that_of_the_matrix_root():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (300, 6)), rng.normal(1, 1, (200, 6)) @ rng.normal(0, 1, (6, 6))
    root = np.trace(sqrtm(np.cov(a.T) @ np.cov(b.T)).real)
    direct = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T)) - 2 * root
    assert frechet_distance(summed(a), summed(b)) == pytest.approx(direct, rel=1e-9)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_moments_do_not_depend_on_the_batches_and_memory_does_not_grow(sizes):
    rows = np.random.default_rng(1).normal(5, 2, (sum(sizes) + 1, 4))
    gaussian = summed(rows[:1])
    for part in np.split(rows[1:], np.cumsum(sizes)[:-1]):
        gaussian.add(torch.from_numpy(part))
        gaussian.fold_many()
        assert len(gaussian.triangle) <= 5
        assert sum(map(len, gaussian.pending)) < 4
    mean, factor = gaussian.moments()
    assert mean.numpy() == pytest.approx(rows.mean(0))
    assert (factor.T @ factor).numpy() == pytest.approx(np.cov(rows.T))


@pytest.mark.slow
def test_blur_and_noise_raise_it_in_order(seen, network):
    samples, _ = seen("grid_flbbc_1")
    frames = np.stack([sample.image for sample in samples[::40]])
    rng = np.random.default_rng(0)

    def features(images):
        return summed(network(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)))

    def noisy(degree):
        return np.clip(frames + rng.normal(0, degree, frames.shape), 0, 255).astype(np.uint8)

    real = features(frames)
    blurred = [features([cv2.GaussianBlur(image, (0, 0), sigma) for image in frames]) for sigma in (1, 2, 4)]
    noised = [features(noisy(degree)) for degree in (5, 15, 45)]
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    for others in (blurred, noised):
        assert np.all(np.diff([1e-3, *(frechet_distance(other, real) for other in others)]) > 0)


@pytest.mark.slow
def test_another_face_raises_it_in_order(seen, network):
    (samples, _), (others, _) = seen("grid_flbbc_1"), seen("grid_mlbax_1")

    def features(own):
        images = np.stack([s.image for s in samples[: 30 * own : 30] + others[30 * own : 90 : 30]])
        return summed(network(torch.from_numpy(images).permute(0, 3, 1, 2)))

    real = features(3)
    assert np.all(np.diff([frechet_distance(features(own), real) for own in (3, 2, 1, 0)]) > 0)


@pytest.mark.slow
def test_all_clips_together_give_one_number_and_are_then_forgotten(seen, weights, network, monkeypatch):
    monkeypatch.setattr(fid, "MIN_FRAMES", 4)
    samples, _ = seen("grid_flbbc_1")
    dark = [replace(sample, image=sample.image // 2) for sample in samples]
    metric = FidMetric(weights)
    for first in (0, 2 * EVERY):
        clip = slice(first, first + EVERY + 1)
        assert np.isnan(measure(metric, dark[clip], samples[clip])["fid"])
    # The distance from the same four frames of either video, by the parts.
    shown = [np.stack([video[k].image for k in range(0, 4 * EVERY, EVERY)]) for video in (dark, samples)]
    ours, theirs = (summed(network(torch.from_numpy(x).permute(0, 3, 1, 2))) for x in shown)
    assert metric.compute_overall()["fid"] == pytest.approx(frechet_distance(ours, theirs), rel=1e-4)
    assert np.isnan(metric.compute_overall()["fid"])
    measure(metric, samples[: 3 * EVERY + 1], samples)
    assert metric.compute_overall()["fid"] == pytest.approx(0, abs=1e-6)
    assert set(metric.weights) == {"inception"}
    assert len(metric.weights["inception"]) == 64


@pytest.mark.slow
def test_clips_measured_elsewhere_give_the_same_number(seen, weights, monkeypatch):
    """To the bit; the others' metrics forget what they gave."""
    monkeypatch.setattr(fid, "MIN_FRAMES", 4)
    samples, _ = seen("grid_flbbc_1")
    dark = [replace(sample, image=sample.image // 2) for sample in samples]
    clips = [slice(first, first + EVERY + 1) for first in (0, 2 * EVERY)]
    here, gathered = FidMetric(weights), FidMetric(weights)
    workers = [FidMetric(weights), FidMetric(weights)]
    for clip, worker in zip(clips, workers, strict=True):
        measure(here, dark[clip], samples[clip])
        measure(worker, dark[clip], samples[clip])
    for worker in workers:
        gathered.take(worker.give())
        assert not worker.give()[0]
    assert gathered.compute_overall() == here.compute_overall()


def test_too_few_frames_are_no_number(seen, weights):
    assert MIN_FRAMES >= 50
    samples, _ = seen("grid_flbbc_1")
    metric = FidMetric(weights)
    measure(metric, samples[:7], samples[:7])
    assert np.isnan(metric.compute_overall()["fid"])


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_other_files_are_one_line(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors are damaged") as caught:
        FidMetric(path)
    assert "\n" not in str(caught.value)
