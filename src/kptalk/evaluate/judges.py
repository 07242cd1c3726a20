"""All metrics, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from kptalk.errors import MissingExtra, WeightsError
from kptalk.evaluate.metric import Column, Judge
from kptalk.evaluate.metrics.beats import BeatsJudge
from kptalk.evaluate.metrics.cpbd import CpbdJudge
from kptalk.evaluate.metrics.csim import CsimJudge
from kptalk.evaluate.metrics.diversity import HopenetJudge, PoseJudge
from kptalk.evaluate.metrics.fid import FidJudge
from kptalk.evaluate.metrics.fidelity import FidelityJudge
from kptalk.evaluate.metrics.flicker import FlickerJudge
from kptalk.evaluate.metrics.jitter import JitterJudge, Joins
from kptalk.evaluate.metrics.lips import LipJudge
from kptalk.evaluate.metrics.lse import SyncNetJudge
from kptalk.evaluate.metrics.sync import SyncJudge


def open_judges(joins: Joins, arcface: Path | None = None) -> tuple[list[Judge], dict[Column, str]]:
    """Open every metric that can be had.

    Args:
        joins: where the windows of the methods meet.
        arcface: ONNX file of the face-recognition model for CSIM; None for the one that was pulled.

    Returns:
        the judges; and for the columns of the others, why they are missing and the one command that gets them.
    """
    openers: list[tuple[tuple[Column, ...], Callable[[], Judge]]] = [
        (SyncNetJudge.columns, SyncNetJudge),
        (SyncJudge.columns, SyncJudge),
        (LipJudge.columns, LipJudge),
        (PoseJudge.columns, PoseJudge),
        (HopenetJudge.columns, HopenetJudge),
        (BeatsJudge.columns, BeatsJudge),
        (FidJudge.columns, FidJudge),
        (CpbdJudge.columns, CpbdJudge),
        (CsimJudge.columns, partial(CsimJudge, arcface)),
        (FidelityJudge.columns, FidelityJudge),
        (JitterJudge.columns, partial(JitterJudge, joins)),
        (FlickerJudge.columns, FlickerJudge),
    ]
    judges: list[Judge] = []
    unavailable: dict[Column, str] = {}
    for columns, opener in openers:
        try:
            judges.append(opener())
        except (WeightsError, MissingExtra) as error:
            unavailable |= dict.fromkeys(columns, str(error))
    return judges, unavailable
