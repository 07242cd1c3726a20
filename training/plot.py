"""Plots ``logs/*.csv`` to ``curves.png``: loss, and score on the people held out, of every network.

python training/plot.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent


def main() -> None:
    logs = sorted((HERE / "logs").glob("*.csv"))
    figure, axes = plt.subplots(2, len(logs), figsize=(3.6 * len(logs), 4.5), sharex="col", squeeze=False)
    for column, log in zip(axes.T, logs, strict=True):
        with log.open(newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        for axis, name in zip(column, ("loss", "score"), strict=True):
            axis.plot([row["step"] for row in rows], [row[name] for row in rows])
            axis.set_ylabel(name)
        column[0].set_title(log.stem)
        column[1].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(HERE / "curves.png", dpi=80)


if __name__ == "__main__":
    main()
