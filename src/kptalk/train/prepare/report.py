"""``report.html``: what was kept and why the rest was not, on one page that loads nothing."""

import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kptalk.errors import MissingExtra
from kptalk.files import write_bytes
from kptalk.motion.generator import FPS
from kptalk.train.dataset import Dataset, Quality
from kptalk.train.shards import shard_heads
from kptalk.types import Floats

FACES = 48  # thumbnails of clips that were kept, and of those left out
BINS = 32
CHART_WIDTH, CHART_HEIGHT = 320.0, 96.0  # pixels
# Title and unit of each field of ``Quality``.
TITLES = {
    "face_width": ("Width of the face", "pixels"),
    "sharpness": ("Sharpness", "variance of the Laplacian at 128 pixels"),
    "yaw": ("Head turned by", "degrees"),
    "speech_level": ("Level of the speech", "dB of full scale"),
    "sync_lag": ("Sound came late by", "frames, before the repair"),
    "sync_correlation": ("Lips and sound", "correlation"),
}
Item = TypeVar("Item")


def write_report(folder: Path) -> None:
    """Write the page of a dataset into its folder; the same dataset gives the same bytes.

    Raises:
        MissingExtra: jinja2 is not installed.
        OutputError: it cannot be written.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtra("the report needs jinja2: pip install 'kptalk[train]'") from error
    dataset = Dataset.open(folder)
    notes = [note for head in shard_heads(folder) for note in head["notes"]]
    left_out = [each for note in notes for each in note["left_out"]]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    kept = [
        {
            "name": entry.name,
            "text": f"{entry.frames / float(FPS):.1f} s, {entry.quality.face_width:.0f} px, {_lag(entry.quality)}",
            "picture": _picture(dataset.thumbnail(entry)),
        }
        for entry in _spread(dataset.clips)
    ]
    lost = [
        {"name": each["name"], "text": each["reason"], "picture": _picture(bytes.fromhex(each["thumbnail"]))}
        for each in _spread(left_out)
    ]
    page = environment.get_template("report.html.jinja").render(
        name=folder.resolve().name,
        card=dataset.card,
        videos=len({note["video"] for note in notes}),
        seen=sum(note["frames"] for note in notes),
        left_out=left_out,
        reasons=_grouped(left_out),
        charts=_charts(dataset),
        galleries=[("Left out", lost, len(left_out)), ("Kept", kept, len(dataset))],
    )
    write_bytes(folder / "report.html", page.encode())


def _lag(quality: Quality) -> str:
    return "sync unknown" if np.isnan(quality.sync_lag) else f"lag {quality.sync_lag:+.0f}"


def _picture(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}" if jpeg else ""


def _spread(items: Sequence[Item]) -> list[Item]:
    """Up to ``FACES`` items, evenly chosen."""
    chosen = np.linspace(0, len(items) - 1, min(FACES, len(items))).astype(int)
    return [items[int(place)] for place in chosen]


def _grouped(left_out: Sequence[dict[str, str]]) -> list[tuple[str, list[dict[str, str]]]]:
    """Reasons that differ in numbers and names of files only, the most frequent first."""
    groups: dict[str, list[dict[str, str]]] = {}
    for each in left_out:
        reason = re.sub(r"-?\d+(\.\d+)?", "…", re.sub(r"(?<!\w)/\S+|\S+/\S*", "…", each["reason"]))
        groups.setdefault(reason, []).append(each)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))


def _charts(dataset: Dataset) -> list[dict[str, Any]]:
    values = {name: dataset.clips.quality[:, place] for place, name in enumerate(Quality._fields)}
    charts = [_chart("Length", "seconds", dataset.clips.frames / float(FPS))]
    charts += [_chart(*TITLES[name], column, whole=name == "sync_lag") for name, column in values.items()]
    return [chart for chart in charts if chart]


def _chart(title: str, unit: str, values: Floats, whole: bool = False) -> dict[str, Any]:
    """A histogram as rectangles; ``whole`` numbers have a bar each. Empty where there are no values."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return {}
    low, high = float(values.min()), float(values.max())
    edges = np.arange(low - 0.5, high + 1) if whole else np.linspace(low, max(high, low + 1e-6), BINS + 1)
    counts, edges = np.histogram(values, edges)
    width = CHART_WIDTH / len(counts)
    bars = [
        {
            "x": round(place * width, 2),
            "y": round(100 - CHART_HEIGHT * count / counts.max(), 2),
            "width": round(width - 1, 2),
            "height": round(CHART_HEIGHT * count / counts.max(), 2),
            "text": f"{(edges[place] + edges[place + 1]) / 2:.3g}: {count} clips",
        }
        for place, count in enumerate(counts.tolist())
    ]
    places = ((0, low, "start"), (CHART_WIDTH / 2, (low + high) / 2, "middle"), (CHART_WIDTH, high, "end"))
    ticks = [{"x": x, "text": f"{value:.3g}", "anchor": anchor} for x, value, anchor in places]
    median = f"{np.median(values):.3g}"
    return {"title": title, "unit": unit, "bars": bars, "ticks": ticks, "median": median}
