"""A metric of one's own: how far the brightness of generated frames is from that of the real ones.

python examples/metric.py real_videos generated_videos
"""

import sys
from pathlib import Path

import numpy as np
import rich

from kptalk.evaluate.clips import VideoFolder, find_clips
from kptalk.evaluate.metric import AudioPair, FrameSample, Metric, MetricSpec
from kptalk.evaluate.report.table import table
from kptalk.evaluate.run import evaluate


class BrightnessMetric(Metric):
    """Mean absolute difference of the frames' mean grey level."""

    columns = (MetricSpec("brightness", "brightness", "grey levels", "lower", "difference of the mean grey level"),)

    def reset(self) -> None:
        self.differences: list[float] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        self.differences.append(abs(float(generated.image.mean()) - float(real.image.mean())))

    def compute(self, audio: AudioPair) -> dict[str, float]:
        return {"brightness": float(np.mean(self.differences)) if self.differences else float("nan")}


if __name__ == "__main__":
    real, generated = map(Path, sys.argv[1:3])
    rich.print(table(evaluate(find_clips(real), [VideoFolder(generated.name, generated)], [BrightnessMetric()])))
