"""Names of methods, made from the folders that hold their videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def method_names(folders: Sequence[Path], reserved: Sequence[str] = ()) -> list[str]:
    """Each folder's own name, behind as many of the folders above it as tell it from the others and from ``reserved``.

    Equal names are left only for folders that are the same.
    """
    paths = [folder.resolve() for folder in folders]
    taken = {path.parts for path in paths} | {(name,) for name in reserved}
    names = []
    for path in paths:
        depth = 1
        while any(other != path.parts and other[-depth:] == path.parts[-depth:] for other in taken):
            depth += 1
        names.append("/".join(path.parts[-depth:]))
    return names
