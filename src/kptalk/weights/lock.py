"""The lock file beside the official weights: licences accepted, and the digest of every file at its first pull."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from kptalk.errors import WeightsError
from kptalk.files import explain, write_bytes
from kptalk.weights.registry import make_weights_folder, weights_folder


@dataclass(frozen=True)
class Record:
    """What was installed under one name; sizes in bytes, digests SHA-256 in hexadecimal."""

    source: str
    original: str  # the path it was converted from; the file may be gone since
    size: int
    sha256: str
    converted_sha256: str


@dataclass(frozen=True)
class Lock:
    """The whole file: licences with the day they were accepted, and a record per entry."""

    licences: dict[str, str] = field(default_factory=dict)
    files: dict[str, Record] = field(default_factory=dict)


def lock_path() -> Path:
    """Where the lock file is."""
    return weights_folder() / "lock.json"


def read_lock() -> Lock:
    """What is recorded; empty if nothing was installed yet.

    Raises:
        WeightsError: the file is damaged.
    """
    path = lock_path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {name: Record(**record) for name, record in content["files"].items()}
        return Lock(dict(content["licences"]), files)
    except FileNotFoundError:
        return Lock()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged ({explain(error)}): delete it and pull again") from error


def record_file(name: str, record: Record) -> None:
    """Record what was installed under ``name``.

    Raises:
        WeightsError: the lock file is damaged or cannot be written.
    """
    lock = read_lock()
    _write(Lock(lock.licences, {**lock.files, name: record}))


def accept(licences: Iterable[str]) -> None:
    """Record that the user accepted these licences today.

    Raises:
        WeightsError: the lock file is damaged or cannot be written.
    """
    lock = read_lock()
    _write(Lock({**dict.fromkeys(licences, date.today().isoformat()), **lock.licences}, lock.files))


def _write(lock: Lock) -> None:
    make_weights_folder()
    write_bytes(lock_path(), json.dumps(asdict(lock), indent=1, sort_keys=True).encode(), WeightsError)
