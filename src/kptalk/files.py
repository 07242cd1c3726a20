"""Files as a whole: digests, checks before any work is done, and writing that leaves a complete file or none."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from kptalk.errors import InputError, KptalkError, OutputError, WeightsError

MOTION_SUFFIX, VIDEO_SUFFIX, PLOT_SUFFIX = ".safetensors", ".mp4", ".png"


def explain(error: BaseException) -> str:
    """What a system, FFmpeg or safetensors error says, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())


def sha256(path: str | PathLike[str], error: type[KptalkError] = WeightsError) -> str:
    """The file's SHA-256, 64 hexadecimal digits.

    Raises:
        error: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as reason:
        raise error(f"cannot read {path}: {explain(reason)}") from reason
    return digest.hexdigest()


@contextmanager
def atomic_write(path: str | PathLike[str], error: type[KptalkError] = OutputError) -> Iterator[Path]:
    """Yield a temporary path in the same folder; the file appears as ``path`` when the block ends without an exception.

    An existing file is replaced; the mode is what the umask says, whoever writes. After an exception nothing is left.

    Raises:
        error: the folder or the disk does not allow it; instead of any OSError of the block.
    """
    path = Path(path)
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
            temporary = Path(folder) / path.name
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
            temporary.replace(path)
    except OSError as reason:
        raise error(f"cannot write {path}: {explain(reason)}") from reason


def write_bytes(path: str | PathLike[str], content: bytes, error: type[KptalkError] = OutputError) -> None:
    """``atomic_write`` of content that is in memory.

    Raises:
        error: the file cannot be written there.
    """
    with atomic_write(path, error) as temporary:
        temporary.write_bytes(content)


def partial_path(path: str | PathLike[str]) -> Path:
    """Where a file that takes long is kept until it is finished, for all to see: hidden, in the same folder."""
    path = Path(path)
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def check_writable(path: str | PathLike[str], suffix: str, overwrite: bool = False) -> None:
    """Make sure that a file can be written to ``path``, before any work is done.

    Args:
        path: where to.
        suffix: that the name must have, for example ``.mp4``; any case.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: another suffix, the folder is absent or cannot be written to, or the file exists already.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise OutputError(f"{path}: give a name that ends in {suffix}")
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder: give the name of a file in it")
        if not path.parent.is_dir():
            seen = "is not a folder" if path.parent.exists() else "does not exist"
            raise OutputError(f"cannot write {path}: {path.parent} {seen}; create the folder, or write elsewhere")
        if (path.exists() or path.is_symlink()) and not overwrite:
            raise OutputError(f"{path} exists already: give another name, or allow overwriting", option="overwrite")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file: give another name")
        with suppress(FileNotFoundError):
            partial_path(path).stat()  # raises where a name cannot be, or the longer temporary one is too long
        with TemporaryFile(dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {explain(error)}") from error


def check_readable(path: Path, kind: str, error: type[KptalkError] = InputError) -> None:
    """Make sure that there is a file with something in it; ``kind`` says what it should be, for example "a recording".

    Raises:
        error: absent, a folder, no regular file, or empty.
    """
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as reason:
        raise error(f"cannot open {path}: {explain(reason)}") from reason
    if path.is_dir():
        raise error(f"{path} is a folder, not {kind}")
    if not path.is_file():
        raise error(f"{path} is not a regular file")
    if size == 0:
        raise error(f"{path} is empty (0 bytes)")


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, where it is absent.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {explain(error)}; give another one") from error
