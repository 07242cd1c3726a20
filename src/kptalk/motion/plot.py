"""The tracks of a motion as a picture."""

from io import BytesIO
from os import PathLike

import numpy as np

from kptalk.errors import MissingExtra
from kptalk.face.topology import LID_PAIRS
from kptalk.files import write_bytes
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.landmark.space import LandmarkSpace
from kptalk.motion.liveportrait.regions import EYES, LIPS
from kptalk.motion.liveportrait.space import LivePortraitSpace
from kptalk.types import Array, Motion

WIDTH, ROW = 10.0, 1.9  # inches of the picture, and of each of its rows
DPI = 110
COLOURS = ("#0072b2", "#d55e00", "#009e73")  # of Okabe and Ito: told apart by colour-blind readers too


def plot_motion(motion: Motion, space: FaceMeshSpace, path: str | PathLike[str]) -> None:
    """Write a PNG of rotation, scale and translation over time, and of lips and eyes.

    Args:
        motion: of any space.
        space: the space ``facemesh``.
        path: the file, ending in .png; replaced where it exists.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a plot of a motion needs matplotlib: pip install 'kptalk[plot]'") from error
    rows = tracks(motion, space)
    seconds = np.arange(len(motion)) / float(motion.fps)
    figure = Figure(figsize=(WIDTH, ROW * len(rows) + 0.4), layout="constrained")
    panels = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    for axes, (name, columns) in zip(panels, rows.items(), strict=True):
        for (label, values), colour in zip(columns.items(), COLOURS, strict=False):
            axes.plot(seconds, values, label=label, color=colour, linewidth=1.2)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    panels[0].set_title(f"{len(motion)} frames at {float(motion.fps):g} fps, motion space {motion.space}")
    panels[-1].set_xlabel("seconds")
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    write_bytes(path, picture.getvalue())


def tracks(motion: Motion, space: FaceMeshSpace) -> dict[str, dict[str, Array]]:
    """What is plotted: for each row its unit or name, and the curves (T,) by name."""
    known = motion.space in (space.id, LandmarkSpace.id)
    unit = "face units" if known else "units"
    rows = {
        "degrees": dict(zip(("yaw", "pitch", "roll"), motion.rotation.T, strict=True)),
        f"place, {unit}": dict(zip(("x, right", "y, down", "z, away"), motion.translation.T, strict=True)),
        "size": {"scale": motion.scale[:, 0]},
    }
    if known:
        expression = space.to_head_frame(motion)
        expression = space.encode(expression) if motion.space == LandmarkSpace.id else expression
        template = space.template
        usual = (template[LID_PAIRS[..., 1], 1] - template[LID_PAIRS[..., 0], 1]).mean(-1)
        lids = 1 + space.regions.lid_gap(expression) / usual
        rows["lips, face units"] = {"opening": space.regions.lip_gap(expression)}
        rows["lids, 1: open"] = dict(zip(("left", "right"), lids.T, strict=True))
    if motion.space == LivePortraitSpace.id:
        away = np.linalg.norm(motion.expression - motion.expression[:1], axis=-1)
        rows["keypoints, units"] = {"lips": away[:, LIPS].mean(1), "eyes": away[:, EYES].mean(1)}
    return rows
