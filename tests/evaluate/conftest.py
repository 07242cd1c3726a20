"""Real clips seen by FaceMesh once for all tests."""

import pytest

from kptalk.evaluate.sampling import read_audio, sample_frames

FRAMES = 100


@pytest.fixture(scope="session")
def seen(shared_data):
    """Function: name of a val clip to its first 100 frames as a list of FrameSample and its sound; each read once."""
    known = {}

    def look(name):
        if name not in known:
            path = shared_data / "clips/val" / f"{name}.mp4"
            samples = list(sample_frames(path, FRAMES / 25))
            known[name] = samples, read_audio(path, len(samples))
        return known[name]

    return look
