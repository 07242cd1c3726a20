"""A weights folder of one's own for every test, and a hub to pull from."""

import pytest
from hub import pull_from, serving


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of converted weights, empty."""
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "weights" / "official"


@pytest.fixture
def hub(home, tmp_path, monkeypatch):
    """A hub that kptalk pulls from, with an empty cache."""
    with serving() as served:
        pull_from(served, tmp_path / "cache", monkeypatch)
        yield served
