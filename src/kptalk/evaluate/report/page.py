"""One HTML page with everything in it: it opens offline, loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kptalk.evaluate.metric import FPS
from kptalk.evaluate.report import plots
from kptalk.evaluate.report.files import write_whole
from kptalk.evaluate.report.numbers import ABSENT, ARROWS, heading, labelled, method_mean, row, shown, worded
from kptalk.evaluate.report.paired import paired
from kptalk.evaluate.report.table import notes, unavailable
from kptalk.evaluate.result import Clip, ClipResult, Evaluation
from kptalk.evaluate.statistics import Mean

SPEED, DIVERSITY = "fps", "pose_std"  # the columns of KDTalker's figure 2
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SIGNIFICANT = 0.05


def write_html(evaluation: Evaluation, path: str | PathLike[str]) -> None:
    """Write the evaluation as one self-contained page; equal evaluations give equal bytes.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: it cannot be written there.
    """
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    sections = [_top(evaluation), _numbers(evaluation), _duels(evaluation), _speed(evaluation), _heat(evaluation)]
    sections += [_openings(evaluation), _clips(evaluation), _meanings(evaluation), _provenance(evaluation)]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>kptalk evaluation</title><style>{style}</style>"
    )
    body = "\n".join(filter(None, sections))
    write_whole(path, f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')


def _text(text: str) -> str:
    return escape(shown(text))


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _named(evaluation: Evaluation, method: int) -> str:
    """A method's name behind a dot of its colour."""
    dot = f'<span class="chip" style="background:{plots.colour(method)}"></span>'
    return dot + _text(evaluation.methods[method].name)


def _legend(evaluation: Evaluation) -> str:
    names = (f"<span>{_named(evaluation, method)}</span>" for method in range(len(evaluation.methods)))
    return f'<div class="legend">{"".join(names)}</div>'


def _image(uri: str, about: str, kind: str = "") -> str:
    return f'<img class="{kind}" src="{uri}" alt="{_text(about)}" loading="lazy" decoding="async">'


def _top(evaluation: Evaluation) -> str:
    seconds = sum(clip.frames for clip in evaluation.clips) / float(FPS)
    names = ", ".join(_text(method.name) for method in evaluation.methods[1:]) or "real video alone"
    return (
        f"<h1>Evaluation: {names}</h1>"
        f'<p class="lead">{_plural(len(evaluation.clips), "clip")}, {seconds:.1f} s of video at {FPS} frames a second. '
        "Real video is judged by the same meters and stands beside every number.</p>"
        f"<pre>{_text(evaluation.command)}</pre>"
    )


def _numbers(evaluation: Evaluation) -> str:
    heads = "".join(
        f'<th class="number" scope="col">{_named(evaluation, method)}</th>' for method in range(len(evaluation.methods))
    )
    rows = []
    for column in evaluation.columns:
        means = row(evaluation, column)
        cells = []
        for (number, interval), mean, method in zip(worded(means), means, evaluation.methods, strict=True):
            some = f"{mean.n} of {len(method.clips)} clips" if 0 < mean.n < len(method.clips) else ""
            small = "".join(f"<small>{line}</small>" for line in (interval, some) if line)
            cells.append(f'<td class="number">{number}{small}</td>')
        unit = f' <span class="unit">{_text(column.unit)} {ARROWS[column.better]}</span>'
        title = f'<th scope="row" title="{_text(column.about)}">{_text(column.title)}{unit}</th>'
        rows.append(f'<tr>{title}{"".join(cells)}<td class="chart">{_forest(means)}</td></tr>')
    lacking = unavailable(evaluation)
    return (
        "<h2>Numbers</h2><p>Mean over clips; below it the 95 % bootstrap interval. ↑ higher is better, ↓ lower is "
        f"better, ≈real: the nearer to real video the better. {ABSENT} not measured. The intervals are drawn at the "
        "right on a scale of their own for each row.</p>"
        f'<div class="wide"><table class="full"><thead><tr><th scope="col">Metric</th>{heads}'
        f'<th class="chart" scope="col">Intervals</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        + (f"<h3>Not available</h3>{_list(lacking)}" if lacking else "")
        + f"<h3>Notes</h3>{_list(line for line in notes(evaluation) if line not in lacking)}"
    )


def _forest(means: list[Mean]) -> str:
    """Means as dots and intervals as lines, one line a method; real video's mean goes through all of them."""
    numbers = np.array([[mean.low, mean.mean, mean.high] for mean in means])
    known = numbers[np.isfinite(numbers)]
    if not known.size:
        return ""
    low, span = known.min(), np.ptp(known)

    def at(number: float) -> str:
        return f"{8 + 164 * ((number - low) / span if span > 0 else 0.5):.1f}"

    height = 11 * len(means) + 4
    marks = []
    if np.isfinite(numbers[0, 1]):
        marks.append(f'<path d="M{at(numbers[0, 1])} 0V{height}" stroke="#c3c9d0" stroke-dasharray="2 2"/>')
    for method, (start, mean, end) in enumerate(numbers):
        y, shade = 11 * method + 7.5, plots.colour(method)
        if np.isfinite(start):
            marks.append(f'<path d="M{at(start)} {y}H{at(end)}" stroke="{shade}" stroke-width="2"/>')
        if np.isfinite(mean):
            marks.append(f'<circle cx="{at(mean)}" cy="{y}" r="3.4" fill="{shade}"/>')
    return f'<svg width="180" height="{height}" aria-hidden="true">{"".join(marks)}</svg>'


def _duels(evaluation: Evaluation) -> str:
    pairs = paired(evaluation)
    if not pairs:
        return ""
    places = {method.name: place for place, method in enumerate(evaluation.methods)}
    names = list(dict.fromkeys((pair.first, pair.second) for pair in pairs))
    titles = (" : ".join(_named(evaluation, places[name]) for name in both) for both in names)
    heads = "".join(f'<th class="number" scope="col">{title}</th>' for title in titles)
    results = {(pair.column.key, pair.first, pair.second): pair.result for pair in pairs}
    rows = []
    for column in dict.fromkeys(pair.column for pair in pairs):
        cells = []
        for first, second in names:
            count = results.get((column.key, first, second))
            if count is None:
                cells.append(f'<td class="number">{ABSENT}</td>')
                continue
            total = count.wins + count.losses + count.ties
            shares = (count.wins, places[first]), (count.losses, places[second])
            parts = [f'<i style="width:{100 * n / total:.1f}%;background:{plots.colour(m)}"></i>' for n, m in shares]
            gap = f'<i style="width:{100 * count.ties / total:.1f}%"></i>'
            p = f"p = {count.p:.2g}"
            p = f"<b>{p}</b>" if count.p < SIGNIFICANT else p
            bar = f'<span class="bar">{parts[0]}{gap}{parts[1]}</span>'
            score = f"{count.wins} – {count.losses}" + (f", {count.ties} equal" if count.ties else "")
            cells.append(f'<td class="number">{score}, {p}{bar}</td>')
        rows.append(f'<tr><th scope="row">{_text(heading(column))}</th>{"".join(cells)}</tr>')
    return (
        "<h2>Clip by clip</h2><p>On how many clips each of two methods is the better one, and p of the two-sided sign "
        f"test, bold below {SIGNIFICANT}. It is of each metric by itself: among 20 metrics one falls below "
        f"{SIGNIFICANT} by chance.</p>"
        f'<div class="wide"><table><thead><tr><th scope="col">Metric</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _speed(evaluation: Evaluation) -> str:
    columns = {column.key: column for column in evaluation.columns}
    if SPEED not in columns or DIVERSITY not in columns:
        return ""
    means = [(method_mean(m, columns[SPEED]).mean, method_mean(m, columns[DIVERSITY]).mean) for m in evaluation.methods]
    places = [place for place, both in enumerate(means) if place and np.isfinite(both).all()]
    if not places:
        return ""
    dots = [(plots.colour(place), *means[place]) for place in places]
    real = means[0][1]
    titles = (labelled(columns[SPEED]), labelled(columns[DIVERSITY]))
    legend = "".join(
        f'<tr><td>{_named(evaluation, place)}</td><td class="number">{means[place][0]:.3g}</td>'
        f'<td class="number">{means[place][1]:.3g}</td></tr>'
        for place in places
    )
    line = " The dashed line is real video." if np.isfinite(real) else ""
    return (
        f"<h2>Speed against diversity</h2><p>Up and to the right is better, up to real video.{line}</p>"
        f'<div class="beside">{_image(plots.scatter(dots, real, titles), "speed against diversity of each method")}'
        f'<table><thead><tr><th>Method</th><th class="number">{_text(titles[0])}</th>'
        f'<th class="number">{_text(titles[1])}</th></tr></thead><tbody>{legend}</tbody></table></div>'
    )


def _heat(evaluation: Evaluation) -> str:
    maps = {
        place: np.mean([np.nan_to_num(result.tracks.heat) for result in method.clips], axis=0, dtype=np.float32)
        for place, method in enumerate(evaluation.methods)
        if method.clips
    }
    if not maps:
        return ""
    return (
        "<h2>Where it moves</h2><p>Mean absolute change of the picture from frame to frame, over all clips of a "
        f'method. One scale for all.</p><div class="average">{_heats(evaluation, maps)}</div>'
    )


def _heats(evaluation: Evaluation, maps: Mapping[int, NDArray[np.float32]]) -> str:
    """Heat maps side by side, by method, on one scale."""
    top = plots.heat_top(list(maps.values()))
    figures = (
        f"<figure>{_image(plots.heat(values, top), 'motion heat map', 'heat')}"
        f"<figcaption>{_named(evaluation, place)}</figcaption></figure>"
        for place, values in maps.items()
    )
    scale = f'<div class="scale">0 {_image(plots.heat_scale(), "colour scale")} {top:.3g} of 255 grey levels</div>'
    return f'<div class="heats">{"".join(figures)}</div>{scale}'


def _results(evaluation: Evaluation, clip: Clip) -> dict[int, ClipResult]:
    """The clip's results by place of the method."""
    found = ((place, r) for place, m in enumerate(evaluation.methods) for r in m.clips if r.clip == clip.name)
    return dict(found)


def _openings(evaluation: Evaluation) -> str:
    figures = []
    for clip in evaluation.clips:
        series = [(plots.colour(place), r.tracks.opening) for place, r in _results(evaluation, clip).items()]
        if series:
            plot = _image(plots.opening(series), f"lip opening of {clip.name}")
            figures.append(f"<figure>{plot}<figcaption>{_text(clip.name)}</figcaption></figure>")
    if not figures:
        return ""
    return (
        "<h2>Lip opening</h2><p>Distance of the inner lips over the face's height, against seconds. Gaps: no face.</p>"
        f'{_legend(evaluation)}<div class="multiples">{"".join(figures)}</div>'
    )


def _clips(evaluation: Evaluation) -> str:
    clips = "".join(_clip(evaluation, clip) for clip in evaluation.clips)
    return f"<h2>Clips</h2><p>Head motion, heat maps and stills of each clip.</p>{_legend(evaluation)}{clips}"


def _clip(evaluation: Evaluation, clip: Clip) -> str:
    results = _results(evaluation, clip)
    remarks = [
        f"{method.name}: {reason}"
        for method in evaluation.methods
        for name, reason in method.missing.items()
        if name == clip.name
    ]
    for place, result in results.items():
        faceless = [f"{result.faceless} of {result.frames} frames without a face"] if result.faceless else []
        remarks += [f"{evaluation.methods[place].name}: {note}" for note in (*faceless, *result.notes)]
    parts = [_list(remarks)] if remarks else []
    if results:
        lines = plots.tracks([(plots.colour(place), result.tracks) for place, result in results.items()])
        parts += [_image(lines, f"lip opening, yaw, pitch and roll of {clip.name}"), "<h3>Where it moves</h3>"]
        parts.append(_heats(evaluation, {place: result.tracks.heat for place, result in results.items()}))
    sheets = [
        f"<figure><figcaption>{_named(evaluation, place)}</figcaption>"
        f"{_image(plots.strip(result.tracks.stills), 'stills at even distances')}</figure>"
        for place, result in results.items()
        if len(result.tracks.stills)
    ]
    if sheets:
        parts.append(f'<h3>Stills at even distances</h3><div class="sheet">{"".join(sheets)}</div>')
    count = f"{_plural(clip.frames, 'frame')}{', with remarks' if remarks else ''}"
    summary = f'<summary>{_text(clip.name)}<span class="soft">{count}</span></summary>'
    return f"<details>{summary}{''.join(parts)}</details>"


def _meanings(evaluation: Evaluation) -> str:
    terms = (f"<dt>{_text(heading(c))}</dt><dd>{_text(c.about)}</dd>" for c in evaluation.columns)
    return f"<h2>What each number is</h2><dl>{''.join(terms)}</dl>"


def _provenance(evaluation: Evaluation) -> str:
    seed = "videos were given" if evaluation.seed is None else str(evaluation.seed)
    facts = "".join(f"<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>" for k, v in evaluation.versions.items())
    weights = "".join(_hash(name, digest) for name, digest in evaluation.weights.items())
    files = []
    for method in evaluation.methods:
        hashes = "".join(_hash(result.clip, result.sha256) for result in method.clips)
        summary = (
            f'<summary>{_text(method.name)}<span class="soft">{_plural(len(method.clips), "file")}</span></summary>'
        )
        files.append(f"<details>{summary}<table>{hashes}</table></details>")
    return (
        f"<h2>Provenance</h2><h3>Seed and versions</h3><table><tr><td>seed</td><td>{seed}</td></tr>{facts}</table>"
        + (f"<h3>sha256 of the weights</h3><table>{weights}</table>" if weights else "")
        + f"<h3>sha256 of the videos</h3>{''.join(files)}"
    )


def _hash(name: str, digest: str) -> str:
    return f'<tr><td>{_text(name)}</td><td class="hash">{_text(digest)}</td></tr>'
