"""A metric for workers: its number of all clips needs a part of each, in their order."""

from kptalk.evaluate.metric import Metric, MetricSpec


class Counting(Metric):
    """Frames of a clip; of all clips, the sum of their frames, each times its place."""

    columns = tuple(MetricSpec(key, key, "", "higher", "for tests") for key in ("frames", "places"))

    def __init__(self):
        self.counts, self.frames = [], 0

    def reset(self):
        self.frames = 0

    def update(self, generated, real):
        self.frames += 1

    def compute(self, audio):
        self.counts.append(self.frames)
        return {"frames": float(self.frames)}

    def give(self):
        counts, self.counts = self.counts, []
        return counts

    def take(self, part):
        self.counts += part

    def compute_overall(self):
        return {"places": sum(place * count for place, count in enumerate(self.give(), 1))}


def counting():
    return [Counting()]
