"""What safetensors files say of themselves, and where the embedded ones are; read without torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kptalk.errors import WeightsError
from kptalk.files import explain

# Names in the headers of files from before 0.1.0, and the names they have now.
RENAMED = {"LipNet": "LipEnsemble", "speech_prior": "speech_mel_mean"}


def read_header(path: str | Path) -> dict[str, str]:
    """The metadata of a weights file: ``architecture``, ``config`` and what was added when it was saved.

    Raises:
        WeightsError: the file is absent or damaged.
    """
    with opened(path) as file:
        return {RENAMED.get(key, key): value for key, value in (file.metadata() or {}).items()}


def embedded_path(name: str) -> Path:
    """Where the package keeps the embedded weights ``name``, for example ``motion``.

    Raises:
        WeightsError: there are none of that name; the message lists those there are.
    """
    folder = embedded_folder()
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors"))) or "none"
        raise WeightsError(f"no embedded weights {name!r} in this installation; there are: {known}")
    return path


def embedded_folder() -> Path:
    """The model folder inside the package."""
    return Path(str(files("kptalk.weights"))) / "embedded"


@contextmanager
def opened(path: str | Path, framework: str = "np") -> Iterator[Any]:
    """A safetensors file; raises WeightsError where it is absent or damaged."""
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except FileNotFoundError as error:
        raise WeightsError(f"weights {path} do not exist") from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"weights {path} are damaged or no safetensors file: {explain(error)}") from error
