"""SHA-256 of files: by it weights and clips are known again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kptalk.errors import KptalkError, WeightsError

_BLOCK = 1 << 20


def sha256_of(path: Path, error: type[KptalkError] = WeightsError) -> str:
    """The file's SHA-256, 64 hexadecimal digits.

    Raises:
        error: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror}") from reason
    return digest.hexdigest()
