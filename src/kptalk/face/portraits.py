"""The faces of the photos that came last, so that a photo which comes again is not searched again."""

import warnings
from collections import OrderedDict
from pathlib import Path

from kptalk.face.find import find_portrait
from kptalk.media.image import read_image
from kptalk.types import Portrait

CACHED = 16  # portraits whose faces are known, at most
CACHED_BYTES = 256_000_000  # of their pictures
Key = tuple[str, int | None, str]  # SHA-256 of a photo, which face, and how a turned one is taken


class Portraits:
    """The faces of the photos that came last, by the photos' SHA-256."""

    def __init__(self) -> None:
        self._found: OrderedDict[Key, Portrait] = OrderedDict()

    def find(self, photo: Path | bytes, digest: str, face: int | None, rotate: str) -> Portrait:
        """The face of a photo that is to talk; raises what ``find_portrait`` and ``read_image`` raise."""
        key = digest, face, rotate
        if key not in self._found:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of several faces, for example: /v1/portraits tells
                content = photo if isinstance(photo, bytes) else photo.read_bytes()
                found = find_portrait(read_image(content), face, rotate)
            self.keep(key, found)
        self._found.move_to_end(key)
        return self._found[key]

    def keep(self, key: Key, portrait: Portrait) -> None:
        """Remember a face that was found."""
        self._found[key] = portrait
        while len(self._found) > 1 and self._is_full():
            self._found.popitem(last=False)

    def _is_full(self) -> bool:
        pictures = {id(each.image): each.image.nbytes for each in self._found.values()}
        return len(self._found) > CACHED or sum(pictures.values()) > CACHED_BYTES
