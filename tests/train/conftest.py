"""A few short shards of real people, made once."""

import numpy as np
import pytest
from media_shared import clip_landmarks

from kptalk.media.audio import Speech
from kptalk.train.data import Shard, save_shard

PEOPLE = {"aoc_3": "a", "katiehill_1": "b", "lrs3_JSSc7hYKstI_1": "c", "mead_W040_1": "d"}
WINDOW = 80


@pytest.fixture(scope="session")
def shards(shared_data):
    """Four shards of 3.2 s: 1.6 s of pictures there and back, with 3.2 s of sound."""
    found = []
    for name, person in PEOPLE.items():
        path = shared_data / "clips" / "val" / f"{name}.mp4"
        landmarks = clip_landmarks(path, 1.6)
        sound = np.concatenate(list(Speech.open(path).chunks()))
        sound = np.resize(sound, WINDOW * 640)
        found.append(Shard(np.concatenate([landmarks, landmarks[::-1]])[:WINDOW], sound, person))
    return found


@pytest.fixture
def stored(shards, tmp_path):
    """The shards in a folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, shard in enumerate(shards):
        save_shard(shard, folder / f"{number}.safetensors")
    return folder
