"""Fitting the head's process: what a known process has made is found again."""

from dataclasses import replace

import numpy as np
import pytest

from kptalk.errors import DatasetError
from kptalk.motion import head
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.head import FPS, N_STYLE, HeadModel
from kptalk.train.data import Inputs
from kptalk.train.head import HeadClip, build, data, head_clip, save
from kptalk.weights.header import embedded_folder, embedded_path

LENGTH = 300


@pytest.fixture(scope="module")
def clips():
    """Heads of 10 s that the embedded model drew for people whose styles are known."""
    model = HeadModel.load(embedded_path("head"))
    levels = np.tile(np.r_[np.full(25, 0.4), np.full(12, -1.5)], 12)
    people = []
    for seed, lively in enumerate(np.linspace(-1.3, 1.3, 40)):
        style = model.livelier(model.style_mean, lively)
        pose = head.step(model, levels, LENGTH + 50, head.start(model, style, seed))[0][50:]
        manner = np.log([0.25, 0.012, 20.0]) + 0.3 * np.random.default_rng(seed).standard_normal((3, 3))
        people.append(HeadClip(str(seed), pose, levels[50 : LENGTH + 50], manner))
    return people


@pytest.mark.slow
def test_a_known_process_is_found_again(clips, monkeypatch, tmp_path):
    monkeypatch.setattr("kptalk.train.head.CALIBRATION", 30)
    save(tmp_path / "head.safetensors", build(clips), clips)
    found, known = HeadModel.load(tmp_path / "head.safetensors"), HeadModel.load(embedded_path("head"))
    assert (tmp_path / "head.safetensors").stat().st_size < 70_000
    assert np.abs(found.style_mean - known.style_mean)[1:4].max() < 0.35
    apart = 0.81 * known.components[0, 1:4]  # the 10th and 90th percentile of these people, over 2.56
    differ = np.sqrt(np.diag(found.style_cov))[1:4] / apart
    assert ((differ > 0.6) & (differ < 1.6)).all(), differ
    begun = head.start(found, found.style_mean, 0)
    made = [head.step(found, np.zeros(1), 350, replace(begun, seed=seed))[0][50:] for seed in range(10)]
    drawn = np.mean([head.style_of(pose) for pose in made], 0)
    assert np.abs(drawn - found.style_mean[:14])[[1, 2, 3, 8, 9, 10]].max() < np.log(1.35)


def test_a_shard_gives_a_clip(tracked):
    clip = head_clip(FaceMeshSpace.load(embedded_path("facemesh")), tracked[0])
    assert clip.pose.shape == (len(clip.levels), 7)
    assert np.abs(np.median(clip.pose[:, 1])) < 0.5
    assert clip.manner.shape == (3, N_STYLE - 14)
    assert np.isfinite(clip.manner).all()
    assert np.exp(clip.style[8]) < 100  # degrees per second
    assert len(clip.pose) < 4 * FPS


def test_too_few_people_are_refused(stored):
    with pytest.raises(DatasetError, match="8 s and more show 0 people"):
        data(Inputs(stored, embedded_folder(), 0, "cpu"))
