"""Opening and decoding of recordings: what FFmpeg reports becomes one-line errors or skipped packets."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
from av.error import FFmpegError

from kptalk.errors import InputError
from kptalk.files import check_readable, explain


@contextmanager
def open_stream(
    path: Path, kind: Literal["audio", "video"], error: type[InputError] = InputError
) -> Iterator[tuple[Any, Any]]:
    """Open a recording and choose its main stream of one kind; closes the file at the end.

    Yields:
        The PyAV container and stream.

    Raises:
        error: the file is absent, empty, no recording, or has no stream of this kind.
    """
    check_readable(path, "a recording", error)
    try:
        # "file:" and the whitelist keep FFmpeg from taking a name for an address, or a playlist to the network.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as reason:
        raise error(f"{path} is not a recording that can be read ({explain(reason)})") from reason
    try:
        stream = container.streams.best(kind)
        # The cover of a sound file, or a text that FFmpeg would type on a screen, is no recording.
        cover = stream is not None and stream.disposition & av.stream.Disposition.attached_pic
        if cover or stream is None or stream.codec_context is None or stream.codec_context.name == "ansi":
            if kind == "audio" and (container.format.name == "image2" or container.format.name.endswith("_pipe")):
                file = container.name.removeprefix("file:")
                raise error(f"{file} is a picture, not a recording: are portrait and speech swapped?")
            word = {"audio": "sound", "video": "pictures"}[kind]
            raise error(f"{path} has no {word}: it is {container.format.long_name}")
        yield container, stream
    finally:
        container.close()


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """All frames of a stream that can be decoded, in order; damaged packets are skipped, a broken end ends it."""
    for packet in _packets(container, stream):
        with suppress(FFmpegError, OSError, ValueError):
            yield from stream.decode(packet)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets, then None, for which the decoder hands out what it still holds."""
    with suppress(FFmpegError, OSError, ValueError):
        yield from (packet for packet in container.demux(stream) if packet.size)
    yield None


def duration(container: Any, stream: Any) -> Fraction | None:
    """Seconds that a stream, or else its container, promises; None where neither does."""
    if stream.duration is not None and stream.time_base is not None:
        return Fraction(stream.duration * stream.time_base)
    return None if container.duration is None else Fraction(container.duration, av.time_base)
