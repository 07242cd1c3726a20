"""A server whose models are stand-ins."""

import pytest
from serving import client_of, no_search, recording


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """One for all tests of a file that leave it as it is."""
    with pytest.MonkeyPatch.context() as patch, client_of(tmp_path_factory.mktemp("serve")) as found:
        no_search(patch)
        yield found


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts servers of other settings, each in its turn."""
    no_search(monkeypatch)
    return lambda **changes: client_of(tmp_path / "served", **changes)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """A second of sound."""
    return recording(tmp_path_factory.mktemp("speech"))
