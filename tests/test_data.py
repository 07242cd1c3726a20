"""The media and numbers in the repository: free to pass on, complete, and what the script makes."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from media_shared import CLIPS, PARITY, SHARED, TESTS, clip_landmarks

from kptalk.media.clip import probe

ORIGINAL = SHARED / "parity"
NAMES = sorted(path.stem for path in (PARITY / "fixtures").glob("*.npz"))


@pytest.fixture(scope="module")
def script():
    """``make_fixtures.py`` as a module."""
    spec = importlib.util.spec_from_file_location("make_fixtures", TESTS / "data" / "make_fixtures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_repository_stays_light():
    assert len(NAMES) == 19
    assert sum(path.stat().st_size for path in (TESTS / "data").rglob("*") if path.is_file()) < 15e6


@pytest.mark.parametrize("path", sorted(CLIPS.glob("*.mp4")), ids=lambda path: path.stem)
def test_a_clip_shows_a_face_in_every_frame(path):
    clip = probe(path)
    assert (clip.fps, clip.size, clip.has_audio) == (25, (256, 256), True)
    assert len(clip_landmarks(path, 3)) == 75
    assert path.name in (TESTS / "data" / "README.md").read_text()


def test_statistics_are_those_of_the_rule(script):
    stored = np.load(PARITY / "fixtures" / "kdtalker_norm.npz")
    for name, value in script.rule_statistics().items():
        np.testing.assert_array_equal(stored[name], value)


@pytest.mark.skipif(not ORIGINAL.is_dir(), reason=f"{ORIGINAL} is not here")
def test_nothing_of_kdtalkers_media_is_in_the_repository(script):
    """Every array is either the script's to make, or does not depend on these media."""
    for name in NAMES:
        own, original = (dict(np.load(folder / "fixtures" / f"{name}.npz")) for folder in (PARITY, ORIGINAL))
        for key in set(own) & set(script.FOREIGN):
            assert not np.array_equal(own[key], original[key]), (name, key)
    statistics = np.load(PARITY / "fixtures" / "kdtalker_norm.npz")
    original = np.load(ORIGINAL / "fixtures" / "kdtalker_norm.npz")
    assert not any(np.array_equal(statistics[key], original[key]) for key in original)


@pytest.mark.skipif(not ORIGINAL.is_dir(), reason=f"{ORIGINAL} is not here")
def test_manifests_and_copied_numbers_are_the_references(script):
    for path in (ORIGINAL / "manifests").glob("*.json"):
        assert json.loads(path.read_text()) == json.loads((PARITY / "manifests" / path.name).read_text())
    copied = 0
    for name in NAMES:
        own, original = (np.load(folder / "fixtures" / f"{name}.npz") for folder in (PARITY, ORIGINAL))
        if name not in script.MADE and name != "kdtalker_norm":
            assert set(own) == set(original)
            assert all(np.array_equal(own[key], original[key]) for key in original), name
            copied += 1
    assert copied == 7


@pytest.mark.slow
@torch.inference_mode()
def test_the_script_makes_what_is_stored(script):
    """All but the whole chain, the slowest, which test_end_to_end.py follows step by step."""
    script.MADE.pop("kdtalker_end_to_end_32f")
    fixtures = script.read(PARITY)
    made = script.regenerate(fixtures, PARITY)
    for name in script.MADE:
        assert set(made[name]) == set(fixtures[name])
        off = [key for key, value in made[name].items() if not script.agree(key, value, fixtures[name][key])]
        assert off == [], name
