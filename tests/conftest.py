"""Where tests find the real media and the numeric fixtures, and a thread count that suits two shared cores."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
import torch
from official_set import publish, unpin

from kptalk import cli
from kptalk.weights import official

SHARED = Path(__file__).resolve().parents[2] / "shared"

pytest_plugins = ["parity_fixtures", "space_fixtures"]
torch.set_num_threads(1)


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: real media and fixtures are kept outside the repository")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips, portraits and speech, or a skip."""
    return _folder("data")


@pytest.fixture(scope="session")
def parity() -> Path:
    """Manifests and numeric fixtures of the reference systems, or a skip."""
    return _folder("parity")


class Converted(NamedTuple):
    """A complete official set by the weight rule: as published, and converted under ``home``."""

    published: Path
    home: Path
    outcomes: list


@pytest.fixture(scope="session")
def converted(parity) -> Converted:
    """The official folder, and a ``KPTALK_HOME`` that it was converted into; 1.7 GB, gone after the session."""
    with TemporaryDirectory(prefix="kptalk-official-") as name, pytest.MonkeyPatch.context() as patch:
        published, home = Path(name) / "published", Path(name) / "home"
        publish(published, parity)
        patch.setenv("KPTALK_HOME", str(home))
        unpin(patch)
        outcomes = list(official.convert(published))
        patch.undo()
        yield Converted(published, home, outcomes)


@pytest.fixture
def kptalk(monkeypatch, capfd):
    """Runs the program here; gives exit code, stdout, and stderr with all that native libraries write to it."""

    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["kptalk", *map(str, argv)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main()
        return (done.value.code or 0, *capfd.readouterr())

    return run
