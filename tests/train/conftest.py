"""A few short shards of real people, made once."""

import numpy as np
import pytest
from media_shared import CLIPS, clip_landmarks

from kptalk.media.audio import Speech
from kptalk.train.data import Shard, save_shard

PEOPLE = {"grid_flbbc_1": "a", "grid_mlbax_1": "b", "grid_s4_1": "c", "grid_msbia_1": "d"}
WINDOW = 80


@pytest.fixture(scope="session")
def shards():
    """Four shards of 3.2 s: 1.6 s of pictures there and back, with 3.2 s of sound."""
    found = []
    for name, person in PEOPLE.items():
        path = CLIPS / f"{name}.mp4"
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
