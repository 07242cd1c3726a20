"""What all metrics share: their columns, a fresh start for every clip, and how they say that they are missing."""

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from degrade import faceless
from measuring import NO_AUDIO, measure

from kptalk.errors import MissingExtra, WeightsError
from kptalk.evaluate import metric as interface
from kptalk.evaluate.metric import FrameSample, specs
from kptalk.evaluate.metrics.beats import BeatsMetric
from kptalk.evaluate.metrics.cpbd import CpbdMetric
from kptalk.evaluate.metrics.csim import CsimMetric
from kptalk.evaluate.metrics.diversity import HopenetMetric
from kptalk.evaluate.metrics.fid import FidMetric
from kptalk.evaluate.metrics.fidelity import FidelityMetric
from kptalk.evaluate.metrics.lse import SyncNetMetric
from kptalk.evaluate.metrics.registry import open_metrics
from kptalk.evaluate.speed import COLUMNS as SPEED
from kptalk.motion.generator import WindowGrid


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """The metrics that need no weights of others, and the columns of those that do."""
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path))
    return open_metrics(WindowGrid(20, 20))


def test_every_column_of_the_table_is_measured_or_comes_with_the_command_that_gets_it(opened):
    metrics, unavailable = opened
    measured = [column.key for metric in metrics for column in metric.columns]
    with Path(interface.__file__).with_name("columns.csv").open(newline="") as file:
        listed = [row["key"] for row in csv.DictReader(file)]
    keys = measured + [column.key for column in (*unavailable, *SPEED)]
    assert sorted(keys) == sorted(listed)
    assert {column.better for column in specs(*listed)} == {"higher", "lower", "real"}
    assert all("kptalk weights pull" in reason for reason in unavailable.values())
    assert {column.key for column in unavailable} >= {"lse_c", "diversity_logits", "fid", "csim"}


def test_a_clip_without_frames_or_faces_has_every_column(opened):
    metrics, _ = opened
    black = [FrameSample(np.zeros((64, 64, 3), np.uint8), None)] * 60
    for metric in metrics:
        keys = [column.key for column in metric.columns]
        nothing = measure(metric, [], audio=NO_AUDIO)
        assert list(nothing) == keys == list(measure(metric, black))
        assert all(map(math.isnan, nothing.values()))


def test_a_clip_counts_for_itself(opened, seen):
    """The same number for a clip, whatever was measured before it."""
    metrics, _ = opened
    samples, _ = seen("aoc_1")
    for metric in metrics:
        first = measure(metric, samples[:60])
        measure(metric, faceless(samples[30:], range(10)))
        assert measure(metric, samples[:60]) == pytest.approx(first, nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "module", "package"),
    [
        (BeatsMetric, "librosa", "librosa"),
        (CpbdMetric, "skimage.feature", "scikit-image"),
        (FidelityMetric, "skimage.metrics", "scikit-image"),
        (CsimMetric, "onnxruntime", "onnxruntime"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, kind, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"needs {package}: pip install 'kptalk\[evaluate\]'"):
        kind()


@pytest.mark.parametrize(
    ("kind", "network"),
    [(SyncNetMetric, "syncnet"), (HopenetMetric, "hopenet"), (FidMetric, "inception"), (CsimMetric, "arcface")],
)
def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch, kind, network):
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=f"kptalk weights pull {network}"):
        kind()
