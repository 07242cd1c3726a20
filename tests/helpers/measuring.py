"""Metrics put to work on frames that are already in memory."""

import numpy as np

from kptalk.evaluate.metric import AudioPair

NO_AUDIO = AudioPair(np.zeros(0, np.float32), np.zeros(0, np.float32))


def measure(metric, generated, real=None, audio=None):
    """A metric's numbers of one clip; frames are compared as far as both videos go, without ``audio`` in silence."""
    real = generated if real is None else real
    metric.reset()
    for pair in zip(generated, real, strict=False):
        metric.update(*pair)
    silence = np.zeros(min(len(generated), len(real)) * 640, np.float32)
    return metric.compute(audio or AudioPair(silence, silence))


def with_network(kind, network):
    """A metric of this class with a stand-in for the network that it would load."""
    metric = kind.__new__(kind)
    metric._network = network
    metric.reset()
    return metric
