"""One HTML page with everything in it: it opens offline, loads nothing and runs no script. See ``page.html.jinja``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kptalk.evaluate.metric import FPS, require_extra
from kptalk.evaluate.report import numbers, plots
from kptalk.evaluate.report.numbers import method_mean, shown
from kptalk.evaluate.report.table import notes, unavailable
from kptalk.evaluate.result import Clip, Evaluation
from kptalk.evaluate.statistics import Mean
from kptalk.types import Array

SPEED, DIVERSITY = "fps", "pose_std"  # the columns of KDTalker's figure 2
CHART_LEFT, CHART_WIDTH = 8, 164  # pixels: where a row's intervals are drawn


def html_report(evaluation: Evaluation) -> str:
    """The evaluation as one self-contained page; equal evaluations give equal texts.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    jinja = require_extra("jinja2", "the HTML report")
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        finalize=lambda value: shown(value) if type(value) is str else value,  # markup has a type of its own
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja.StrictUndefined,
    )
    environment.globals.update(
        {"fps": FPS, "absent": numbers.ABSENT, "significant": numbers.SIGNIFICANT},
        **{"colour": plots.colour, "plural": numbers.plural, "heat_scale": plots.heat_scale()},
    )
    heats = [[np.nan_to_num(result.tracks.heat) for result in method.clips] for method in evaluation.methods]
    comparisons, lacking = numbers.paired(evaluation), unavailable(evaluation)
    page: str = environment.get_template("page.html.jinja").render(
        evaluation=evaluation,
        methods=evaluation.methods,
        places={method.name: place for place, method in enumerate(evaluation.methods)},
        seconds=sum(clip.frames for clip in evaluation.clips) / float(FPS),
        numbers=list(_numbers(evaluation)),
        unavailable=lacking,
        notes=[line for line in notes(evaluation) if line not in lacking],
        comparisons=comparisons,
        pairs=numbers.all_pairs(comparisons),
        speed=_speed(evaluation),
        mean_heat=_heat({place: np.mean(maps, axis=0, dtype=np.float32) for place, maps in enumerate(heats) if maps}),
        clips=[_clip(evaluation, clip) for clip in evaluation.clips],
    )
    return page


def _numbers(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """For every metric: a mean, an interval and a remark for each method, and where the interval is drawn."""
    for column in evaluation.columns:
        means = numbers.row(evaluation, column)
        cells = []
        for texts, mean, method in zip(numbers.worded(means), means, evaluation.methods, strict=True):
            total = len(method.clips)
            cells.append((*texts, f"{mean.n} of {total} clips" if 0 < mean.n < total else ""))
        yield {"column": column, "cells": cells, "positions": _positions(means)}


def _positions(means: list[Mean]) -> list[list[str | None]]:
    """For every method where low end, mean and high end are drawn, in pixels; empty where there is no number."""
    ends = np.array([[mean.low, mean.mean, mean.high] for mean in means])
    known = ends[np.isfinite(ends)]
    if not known.size:
        return []
    span = np.ptp(known)
    share = (ends - known.min()) / span if span > 0 else ends - known.min() + 0.5
    return [[f"{CHART_LEFT + CHART_WIDTH * x:.1f}" if np.isfinite(x) else None for x in line] for line in share]


def _speed(evaluation: Evaluation) -> dict[str, Any] | None:
    """Speed and head-pose diversity of the generated methods that have both; None without any."""
    columns = {column.key: column for column in evaluation.columns}
    if SPEED not in columns or DIVERSITY not in columns:
        return None
    x, y = ([method_mean(method, columns[key]).mean for method in evaluation.methods] for key in (SPEED, DIVERSITY))
    points = [(place, x[place], y[place]) for place in range(1, len(x)) if np.isfinite([x[place], y[place]]).all()]
    if not points:
        return None
    labels = columns[SPEED].label, columns[DIVERSITY].label
    plot = plots.scatter([(plots.colour(place), speed, diversity) for place, speed, diversity in points], y[0], labels)
    return {"points": points, "labels": labels, "real_known": bool(np.isfinite(y[0])), "plot": plot}


def _heat(maps: Mapping[int, Array]) -> dict[str, Any]:
    """Heat maps by place of the method, on one scale."""
    top = plots.heat_top(list(maps.values()))
    return {"top": f"{top:.3g}", "images": {place: plots.heat(values, top) for place, values in maps.items()}}


def _clip(evaluation: Evaluation, clip: Clip) -> dict[str, Any]:
    """One clip's remarks and pictures, by place of the method."""
    methods = evaluation.methods
    results = {place: r for place, method in enumerate(methods) for r in method.clips if r.clip == clip.name}
    remarks = [f"{method.name}: {method.missing[clip.name]}" for method in methods if clip.name in method.missing]
    for place, result in results.items():
        faceless = [f"{result.faceless} of {result.frames} frames without a face"] if result.faceless else []
        remarks += [f"{methods[place].name}: {note}" for note in (*faceless, *result.notes)]
    tracks = [(plots.colour(place), result.tracks) for place, result in results.items()]
    return {
        "name": clip.name,
        "frames": clip.frames,
        "remarks": remarks,
        "results": results,
        "opening": plots.opening(tracks) if tracks else "",
        "tracks": plots.tracks(tracks) if tracks else "",
        "heat": _heat({place: result.tracks.heat for place, result in results.items()}),
        "stills": {place: plots.strip(r.tracks.stills) for place, r in results.items() if len(r.tracks.stills)},
    }
