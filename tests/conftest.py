"""Where tests find the real media and the numeric fixtures, and a thread count that suits two shared cores."""

import sys
from pathlib import Path

import pytest
import torch

from kptalk import cli

SHARED = Path(__file__).resolve().parents[2] / "shared"

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
