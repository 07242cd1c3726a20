"""Which videos an evaluation has made, of what and how, so that one that was interrupted goes on."""

import json
from pathlib import Path

from kptalk.errors import InputError
from kptalk.files import sha256, write_bytes

MADE = "made.json"


class MadeVideos:
    """The videos in a folder that were made with one cache key: a text that changes with model and options.

    Raises:
        OutputError: they cannot be noted there.
    """

    def __init__(self, folder: Path, cache_key: str) -> None:
        self._path, self._cache_key = folder / MADE, cache_key
        self._clips = _read(self._path, cache_key) or {}
        self._write()

    def has(self, clip: Path) -> bool:
        """Whether the video of a clip is there, and the clip is what it was.

        Raises:
            InputError: the clip cannot be read.
        """
        known = self._clips.get(clip.name)
        return known is not None and (self._path.parent / clip.name).is_file() and known == sha256(clip, InputError)

    def add(self, clip: Path) -> None:
        """Note that a clip's video is there.

        Raises:
            InputError: the clip cannot be read.
            OutputError: it cannot be noted.
        """
        self._clips[clip.name] = sha256(clip, InputError)
        self._write()

    def _write(self) -> None:
        write_bytes(self._path, json.dumps({"key": self._cache_key, "clips": self._clips}, indent=1).encode())


def goes_on(folder: Path, cache_key: str) -> bool:
    """Whether videos in a folder were made with a cache key."""
    return _read(folder / MADE, cache_key) is not None


def _read(path: Path, cache_key: str) -> dict[str, str] | None:
    try:
        found = json.loads(path.read_text())
        return dict(found["clips"]) if found["key"] == cache_key else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # absent, or not ours
        return None
