"""All metrics, in the order of the table."""

from pathlib import Path
from typing import Any

from kptalk.errors import MissingExtra, WeightsError
from kptalk.evaluate.metric import Metric, MetricSpec
from kptalk.evaluate.metrics.beats import BeatsMetric
from kptalk.evaluate.metrics.cpbd import CpbdMetric
from kptalk.evaluate.metrics.csim import CsimMetric
from kptalk.evaluate.metrics.diversity import HopenetMetric, PoseMetric
from kptalk.evaluate.metrics.fid import FidMetric
from kptalk.evaluate.metrics.fidelity import FidelityMetric
from kptalk.evaluate.metrics.flicker import FlickerMetric
from kptalk.evaluate.metrics.head import HeadMetric
from kptalk.evaluate.metrics.jitter import JitterMetric
from kptalk.evaluate.metrics.lips import LipMetric
from kptalk.evaluate.metrics.lse import SyncNetMetric
from kptalk.evaluate.metrics.sync import SyncMetric
from kptalk.motion.generator import WindowGrid

METRICS: tuple[type[Metric], ...] = (
    *(SyncNetMetric, SyncMetric, LipMetric, PoseMetric, HeadMetric, HopenetMetric),
    *(BeatsMetric, FidMetric, CpbdMetric, CsimMetric, FidelityMetric, JitterMetric, FlickerMetric),
)


def open_metrics(joins: WindowGrid, arcface: Path | None = None) -> tuple[list[Metric], dict[MetricSpec, str]]:
    """Open every metric that is available.

    Args:
        joins: where the windows of the methods meet.
        arcface: ONNX file of the face-recognition model for CSIM; None for the one that was pulled.

    Returns:
        the metrics; and for the columns of the others, why they are missing and the one command that gets them.
    """
    arguments: dict[type[Metric], Any] = {CsimMetric: [arcface], JitterMetric: [joins]}
    opened: list[Metric] = []
    unavailable: dict[MetricSpec, str] = {}
    for kind in METRICS:
        try:
            opened.append(kind(*arguments.get(kind, ())))
        except (WeightsError, MissingExtra) as error:
            unavailable |= dict.fromkeys(kind.columns, str(error))
    return opened, unavailable


def available_metrics(joins: WindowGrid, arcface: Path | None = None) -> list[Metric]:
    """Those of ``open_metrics`` that are available, for workers."""
    return open_metrics(joins, arcface)[0]
