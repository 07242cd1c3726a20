"""Files as a whole: digests, checks before any work is done, and writing that leaves a complete file or none."""

import errno
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from os import PathLike
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory, TemporaryFile

from kptalk.errors import InputError, KptalkError, OutputError, WeightsError

NOT_THERE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # what file systems say of what they cannot do
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
def writing(path: str | PathLike[str], error: type[KptalkError] = OutputError) -> Iterator[None]:
    """Meanwhile what the system says is an error that names the file.

    Raises:
        error: instead of any OSError of the block.
    """
    try:
        yield
    except OSError as reason:
        raise error(f"cannot write {path}: {explain(reason)}") from reason


@contextmanager
def atomic_write(path: str | PathLike[str], error: type[KptalkError] = OutputError) -> Iterator[Path]:
    """Yield a temporary path in the same folder; the file appears as ``path`` when the block ends without an exception.

    An existing file is replaced; the mode is what the umask says, whoever writes. After an exception nothing is left.

    Raises:
        error: the folder or the disk does not allow it; instead of any OSError of the block.
    """
    path = Path(path)
    with (
        writing(path, error),
        TemporaryDirectory(dir=path.parent, prefix=".saving-", ignore_cleanup_errors=True) as folder,
    ):
        temporary = Path(folder) / path.name
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        with suppress(OSError):  # there are file systems without modes
            temporary.chmod(mode)
        put_in_place(temporary, path)


def put_in_place(source: Path, target: Path) -> None:
    """Give a complete file its name, in the place of the file that has it, once its content is on the disk.

    So a power cut leaves the old file or the new one, and a disk or server that takes nothing more has said so. Where
    the file system cannot replace a file, the old one has a hidden name for a moment.

    Raises:
        OSError: it cannot be written, or moved there; the old file is still there.
    """
    with source.open("rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
    try:
        source.replace(target)
    except OSError as error:
        if error.errno not in (*NOT_THERE, errno.EEXIST, errno.EPERM) or not target.is_file():
            raise
        old = target.with_name(f".{target.stem}.old{target.suffix}")
        old.unlink(missing_ok=True)
        target.rename(old)
        try:
            source.rename(target)
        except OSError:
            old.rename(target)
            raise
        old.unlink()


def write_bytes(path: str | PathLike[str], content: bytes, error: type[KptalkError] = OutputError) -> None:
    """``atomic_write`` of content that is in memory.

    Raises:
        error: the file cannot be written there.
    """
    with atomic_write(path, error) as temporary:
        temporary.write_bytes(content)


def with_sorted_header(content: bytes) -> bytes:
    """A safetensors file whose header is sorted; the library writes its texts in another order every time."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors are aligned
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def partial_path(path: str | PathLike[str]) -> Path:
    """Where a file that takes long is kept until it is finished, for all to see: hidden, in the same folder."""
    path = Path(path)
    return path.with_name(f".{path.stem}.partial{path.suffix}")


_partial_files: dict[Path, Path] = {}  # of this process, by the output


def kept_partial(path: str | PathLike[str]) -> Path | None:
    """Where the partial file is that this process has written for an output; None if it has written none."""
    partial = _partial_files.get(Path(path))
    return partial if partial is not None and partial.exists() and partial.stat().st_size else None


def open_partial(path: str | PathLike[str]) -> FileIO:
    """Open the partial file of an output for this run alone, empty, to write and read; its ``name`` says where it is.

    Closing it, or the end of the process, however it ends, gives it free. What a killed run left there is replaced.
    Where the file system has no locks, the file has a name that no other run has.

    Raises:
        OutputError: another run is writing this output.
        OSError: the file cannot be opened.
    """
    partial = partial_path(path)
    while True:
        file = FileIO(partial, "rb+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))
        try:
            _lock(file, path)
        except OSError:
            file.close()
            if not partial.stat().st_size:
                partial.unlink()
            partial = partial.with_stem(f"{partial.stem}-{os.getpid()}-{token_hex(4)}")
            file = FileIO(partial, "xb+")
        except OutputError:
            file.close()
            raise
        if _is_there(file):
            file.truncate()
            _partial_files[Path(path)] = partial
            return file
        file.close()  # the run that had locked it has just removed it


def remove_partial(file: FileIO) -> None:
    """Remove and close what ``open_partial`` opened."""
    try:
        if _is_there(file):
            Path(file.name).unlink()  # while it is locked, or it may be another run's by now
    except PermissionError:  # Windows removes no open file; nor one that another run has opened meanwhile
        file.close()
        with suppress(OSError):
            Path(file.name).unlink()
    file.close()


@contextmanager
def claimed(path: str | PathLike[str]) -> Iterator[None]:
    """Meanwhile an output is this run's alone, where the file system has locks.

    Raises:
        OutputError: another run is writing it, or it cannot be written there.
    """
    with writing(path):
        file = open_partial(path)
    try:
        yield
    finally:
        remove_partial(file)


def _is_there(file: FileIO) -> bool:
    """Whether an open file is still the one that its name leads to."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: FileIO) -> None:
        file.seek(0x7FFFFFFE)  # one byte, which need not exist
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            file.seek(0)

else:
    import fcntl

    def _try_lock(file: FileIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(file: FileIO, path: str | PathLike[str]) -> None:
    """Lock a file until it is closed. Raises OutputError where another run has locked it, OSError where none can."""
    try:
        _try_lock(file)
    except BlockingIOError as error:
        raise OutputError(f"another run is writing {path}: wait until it is done, or give another name") from error


def lock_file(path: str | PathLike[str]) -> FileIO:
    """Make a file and lock it until it is closed, or the process ends.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be made or locked.
    """
    file = FileIO(path, "ab+")
    try:
        _try_lock(file)
    except OSError:
        file.close()
        raise
    return file


def check_writable(path: str | PathLike[str], suffix: str, overwrite: bool = False) -> None:
    """Make sure that a file can be written to ``path``, before any work is done.

    Args:
        path: where to.
        suffix: that the name must have, for example ``.mp4``; any case.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: another suffix, the folder is absent or cannot be written to, the file exists already, or another
            run is writing it.
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
        # Raises also where a name cannot be, or the longer partial one is too long.
        with suppress(FileNotFoundError), FileIO(partial_path(path), "rb+") as file, suppress(OSError):
            _lock(file, path)
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
        if address := re.match(r"([a-z][a-z0-9+.-]+):/+(?=.)", str(path), re.IGNORECASE):  # Path makes one slash of two
            url = f"{address[1]}://{str(path)[address.end() :]}"
            raise error(f"{url} is a URL: download it first, and give the file") from reason
        raise error(f"cannot open {path}: {explain(reason)}") from reason
    if path.is_dir():
        raise error(f"{path} is a folder, not {kind}")
    if not path.is_file():
        raise error(f"{path} is not a regular file")
    if size == 0:
        raise error(f"{path} is empty (0 bytes)")
    if kind == "an image" and _is_sound(path):
        raise error(f"{path} is a recording, not a picture: are portrait and speech swapped?")


def _is_sound(path: Path) -> bool:
    """Whether a file begins as WAV, MP3, FLAC, Ogg or M4A do."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:  # whoever reads it says why
        return False
    wave, m4a = start[:4] == b"RIFF" and start[8:] == b"WAVE", start[4:] == b"ftypM4A "
    return wave or m4a or start.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3", b"fLaC", b"OggS"))


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, where it is absent.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {explain(error)}; give another one") from error
