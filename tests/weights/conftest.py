"""A weights folder of one's own for every test, and a hub to pull from."""

import pytest
from hub import serving
from huggingface_hub import constants


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of converted weights, empty."""
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "weights" / "official"


@pytest.fixture
def hub(home, tmp_path, monkeypatch):
    """A hub that kptalk pulls from, with an empty cache."""
    monkeypatch.setattr("kptalk.weights.fetch.PAUSE", 0)
    monkeypatch.setattr("time.sleep", lambda _: None)  # huggingface_hub waits a second before it resumes
    with serving() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"  # made of the endpoint at import
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what came before a cut counts in these
        yield served
