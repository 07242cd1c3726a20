"""The page's pictures, each as a data: URI. Names stay in the HTML, so that no font or markup can spoil them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kptalk.evaluate.metric import FPS, require_extra
from kptalk.evaluate.result import Tracks
from kptalk.types import Array, Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Named = tuple[str, Tracks]  # a method's colour, and what was measured of its video

REAL_COLOUR = "#3d3d3d"
# Okabe and Ito's palette, which the colour-blind can tell apart, without its yellow.
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MAX_POINTS = 1500  # of a line: longer tracks are averaged over blocks
HEAT_MAP = "inferno"
JPEG_QUALITY = 82


def colour(method: int) -> str:
    """Of the method with this place in the evaluation; 0 is real video."""
    return REAL_COLOUR if method == 0 else METHOD_COLOURS[(method - 1) % len(METHOD_COLOURS)]


def opening(named: Sequence[Named]) -> str:
    """A small plot of lip openings (T,) over seconds."""
    with _figure(2.7, 1.15) as (figure, uri):
        axes = figure.add_axes((0.135, 0.17, 0.825, 0.79))
        _lines(axes, [(shade, track.opening) for shade, track in named], width=0.9)
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", nbins=5, integer=True)
        axes.locator_params(axis="y", nbins=3, steps=[1, 2, 5, 10])
        return uri()


def tracks(named: Sequence[Named]) -> str:
    """Lip opening, yaw, pitch and roll of one clip over seconds, one below the other; a colour for each method."""
    with _figure(11.4, 5.2) as (figure, uri):
        grid = figure.add_gridspec(4, left=0.055, right=0.99, top=0.985, bottom=0.08, hspace=0.2)
        for place, title in enumerate(("lip opening / face", "yaw, degrees", "pitch, degrees", "roll, degrees")):
            axes = figure.add_subplot(grid[place])
            _lines(axes, [(shade, track.rotation[:, place - 1] if place else track.opening) for shade, track in named])
            if place:
                _widen(axes, 8)
            else:
                axes.set_ylim(bottom=0)
            axes.set_ylabel(title)
            axes.locator_params(axis="y", nbins=4)
            axes.tick_params(labelbottom=place == 3)
        axes.set_xlabel("seconds")
        figure.align_ylabels()
        return uri()


def scatter(points: Sequence[tuple[str, float, float]], real: float, labels: tuple[str, str]) -> str:
    """A dot of (colour, x, y) for each method; ``real``, if finite, is a dashed line at that y."""
    with _figure(5.2, 3.0) as (figure, uri):
        axes = figure.add_axes((0.11, 0.15, 0.87, 0.82))
        for shade, x, y in points:
            axes.scatter([x], [y], s=70, color=shade, edgecolor="white", zorder=3)
        if np.isfinite(real):
            axes.axhline(real, color=REAL_COLOUR, linestyle=(0, (4, 3)), linewidth=1)
        axes.set_xlim(0, 1.15 * max(x for _, x, _ in points))
        axes.set_ylim(0, 1.15 * max([y for _, _, y in points] + [real] * bool(np.isfinite(real))) or 1)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        return uri()


def heat_top(maps: Sequence[Array]) -> float:
    """The change per frame that is to be brightest in all of these maps: nearly their largest."""
    return max([float(np.percentile(np.nan_to_num(heat), 99.5)) for heat in maps] + [1e-3])


def heat(values: Array, top: float) -> str:
    """A motion heat map (64, 64), 0 to ``top``, as PNG."""
    with _styled() as matplotlib:
        shades = matplotlib.colormaps[HEAT_MAP](np.clip(np.nan_to_num(values) / top, 0, 1), bytes=True)
        return _picture(shades, "png")


def heat_scale() -> str:
    """The colours of the heat maps from 0 to the top, (1, 64) as PNG."""
    return heat(np.linspace(0, 1, 64, dtype=np.float32)[None], 1)


def strip(stills: Image) -> str:
    """Stills (n, H, W, 3) side by side as JPEG."""
    return _picture(np.concatenate(list(stills), axis=1), "jpeg", pil_kwargs={"quality": JPEG_QUALITY})


def thinned(track: Array) -> tuple[Array, Array]:
    """Seconds and values of a track (T,) in at most 1500 points: means over blocks, NaN where a block has none."""
    block = -(-len(track) // MAX_POINTS) or 1
    padded = np.pad(track, (0, -len(track) % block), constant_values=np.nan).reshape(-1, block)
    good = np.isfinite(padded)
    means = padded.sum(1, where=good) / np.where(good.any(1), good.sum(1), np.nan)
    seconds = (np.arange(len(means)) * block + (block - 1) / 2) / float(FPS)
    return seconds.astype(np.float32), means.astype(np.float32)


def _lines(axes: Axes, series: Sequence[tuple[str, Array]], width: float = 1.2) -> None:
    longest = max((len(track) for _, track in series), default=0)
    for place, (shade, track) in enumerate(series):
        axes.plot(*thinned(track), color=shade, zorder=2 + (place > 0), linewidth=width, alpha=0.9)
    axes.set_xlim(0, max(longest, 1) / float(FPS))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")


def _widen(axes: Axes, least: float) -> None:
    """At least so many units from bottom to top, so that measuring noise does not look like motion."""
    low, high = axes.get_ylim()
    extra = max(least - (high - low), 0) / 2
    axes.set_ylim(low - extra, high + extra)


@contextmanager
def _styled() -> Iterator[Any]:
    """matplotlib with ``page.mplstyle`` in place of whatever is set; everything is as before afterwards."""
    for module in ("matplotlib.figure", "matplotlib.image", "matplotlib.style", "matplotlib"):
        matplotlib = require_extra(module, "the HTML report")
    with matplotlib.style.context(["default", Path(__file__).with_name("page.mplstyle")]):
        yield matplotlib


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """A figure of so many inches, and a function that turns it into an SVG."""
    with _styled() as matplotlib:
        figure = matplotlib.figure.Figure(figsize=(width, height))
        options = {"format": "svg", "transparent": True, "metadata": {"Date": None, "Creator": None}}
        yield figure, partial(_data_uri, "svg+xml", figure.savefig, **options)


def _picture(pixels: Image, kind: str, **options: Any) -> str:
    with _styled() as matplotlib:
        return _data_uri(kind, matplotlib.image.imsave, pixels, format=kind, **options)


def _data_uri(kind: str, save: Callable[..., None], *content: Image, **options: Any) -> str:
    file = BytesIO()
    save(file, *content, **options)
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"
