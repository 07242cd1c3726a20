"""Real clips seen by FaceMesh once for all tests."""

import numpy as np
import pytest

from kptalk.evaluate.metric import Heard
from kptalk.evaluate.sampling import listen, watch

FRAMES = 100


@pytest.fixture(scope="session")
def seen(shared_data):
    """Function: name of a val clip to its first 100 frames as a list of Sight and its sound; each is watched once."""
    known = {}

    def look(name):
        if name not in known:
            path = shared_data / "clips/val" / f"{name}.mp4"
            sights = list(watch(path, FRAMES / 25))
            known[name] = sights, listen(path, len(sights))
        return known[name]

    return look


@pytest.fixture
def measure(seen):
    """Function: judge, generated sights, real sights, sounds to the judge's numbers."""

    def run(judge, generated, real, heard=None):
        meter = judge.start()
        for ours, theirs in zip(generated, real, strict=False):
            meter.add(ours, theirs)
        silence = np.zeros(min(len(generated), len(real)) * 640, np.float32)
        return meter.result(heard or Heard(silence, silence))

    return run
