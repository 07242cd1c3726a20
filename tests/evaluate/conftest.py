"""Real clips seen by FaceMesh once for all tests."""

import pytest
from media_shared import clip_path

from kptalk.evaluate.sampling import read_audio, sample_frames

FRAMES = 100


@pytest.fixture(scope="session")
def seen():
    """Function: name of a clip to a list of FrameSample, at most 100, and its sound; each read once."""
    known = {}

    def look(name):
        if name not in known:
            path = clip_path(name)
            samples = list(sample_frames(path, FRAMES / 25))
            known[name] = samples, read_audio(path, len(samples))
        return known[name]

    return look
