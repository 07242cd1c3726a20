"""A few short clips of real people, made once."""

import numpy as np
import pytest
from datasets_made import written
from fakes import facemesh_space
from media_shared import CLIPS, clip_landmarks

from kptalk.media.audio import Speech
from kptalk.train.dataset import TrackedClip
from kptalk.train.pictures import make_pictures
from kptalk.weights.header import embedded_path

PEOPLE = {"grid_flbbc_1": "a", "grid_mlbax_1": "b", "grid_s4_1": "c", "grid_msbia_1": "d"}
WINDOW = 80


@pytest.fixture(scope="session")
def tracked():
    """Four clips of 3.2 s: 1.6 s of pictures there and back, with 3.2 s of sound."""
    found = []
    for name, person in PEOPLE.items():
        path = CLIPS / f"{name}.mp4"
        landmarks = clip_landmarks(path, 1.6)
        sound = np.concatenate(list(Speech.open(path).chunks()))
        sound = np.resize(sound, WINDOW * 640)
        found.append(TrackedClip(np.concatenate([landmarks, landmarks[::-1]])[:WINDOW], sound, person))
    return found


@pytest.fixture
def stored(tracked, tmp_path):
    """These as a dataset."""
    return written(tracked, tmp_path / "data")


@pytest.fixture(scope="session")
def picture_clips():
    """Two clips of 1.6 s, with their videos."""
    found = []
    for name in list(PEOPLE)[:2]:
        path = CLIPS / f"{name}.mp4"
        landmarks = clip_landmarks(path, 1.6)
        sound = np.concatenate(list(Speech.open(path).chunks()))[: 640 * len(landmarks)]
        found.append(TrackedClip(landmarks, sound, PEOPLE[name], path))
    return found


@pytest.fixture
def picture_folder(picture_clips, tmp_path):
    """These as a dataset."""
    return written(picture_clips, tmp_path / "shards")


@pytest.fixture(scope="session")
def pictures(picture_clips):
    """Their picture sets, of 32 pixels."""
    return [make_pictures(source, facemesh_space(), 32, np.random.default_rng(0)) for source in picture_clips]


@pytest.fixture
def space_folder(tmp_path):
    """A model folder with the embedded motion space alone."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    return folder


@pytest.fixture
def model_folder(space_folder, pictures):
    """The same with the pictures."""
    folder = space_folder / "pictures-32"
    folder.mkdir()
    for number, found in enumerate(pictures):
        found.save(folder / f"{number}.safetensors")
    return space_folder
