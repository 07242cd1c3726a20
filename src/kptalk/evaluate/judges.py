"""All metrics, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from kptalk.errors import MissingExtra, WeightsError
from kptalk.evaluate.beats import BeatsJudge
from kptalk.evaluate.cpbd import CpbdJudge
from kptalk.evaluate.csim import CsimJudge
from kptalk.evaluate.diversity import HopenetJudge, PoseJudge
from kptalk.evaluate.fid import FidJudge
from kptalk.evaluate.fidelity import FidelityJudge
from kptalk.evaluate.flicker import FlickerJudge
from kptalk.evaluate.jitter import JitterJudge, Joins
from kptalk.evaluate.lips import LipJudge
from kptalk.evaluate.lse import SyncNetJudge
from kptalk.evaluate.meter import Column, Judge
from kptalk.evaluate.sync import SyncJudge


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
