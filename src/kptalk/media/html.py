"""A video as HTML, for notebooks."""

import os
from base64 import b64encode
from html import escape
from pathlib import Path
from urllib.parse import quote

LARGEST_EMBEDDED = 8_000_000  # bytes of a file that becomes part of the notebook


def embedded_video(content: bytes, size: tuple[int, int], caption: str) -> str:
    """A player that holds an MP4, so that it needs no file: it also shows in a saved or exported notebook."""
    return _player(f"data:video/mp4;base64,{b64encode(content).decode()}", size, caption)


def saved_video(path: Path, size: tuple[int, int], caption: str) -> str:
    """A player of an MP4 file: embedded up to 8 MB, otherwise by its path as seen from the working folder."""
    if path.stat().st_size <= LARGEST_EMBEDDED:
        return embedded_video(path.read_bytes(), size, caption)
    return _player(quote(Path(os.path.relpath(path)).as_posix()), size, caption)


def message(text: str) -> str:
    """A line of text in the place of a video."""
    return f"<p><code>{escape(text)}</code></p>"


def _player(source: str, size: tuple[int, int], caption: str) -> str:
    video = f'<video controls width="{size[0]}" style="max-width: 100%" src="{source}"></video>'
    return f"<figure>{video}<figcaption><code>{escape(caption)}</code></figcaption></figure>"
