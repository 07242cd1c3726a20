"""Opening and decoding of recordings: what FFmpeg reports becomes one-line errors or skipped packets."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, Literal

import av
from av.error import FFmpegError

from kptalk.errors import InputError
from kptalk.files import check_readable, explain

# FFmpeg's formats that hold sound or pictures themselves. Lists of other files (concat, HLS, DASH, numbered pictures)
# and scripts are not among them: who sends one shall not learn what other files there are.
FORMATS = (
    "3gp,aa,aac,ac3,aiff,amr,amrnb,amrwb,ape,apng,asf,au,av1,avi,avr,caf,dsf,dts,dv,eac3,flac,flv,gif,gsm,gxf,h264,hevc,"
    "ircam,ivf,latm,loas,m4a,m4v,matroska,mjpeg,mlp,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nistsphere,nut,obu,"
    "ogg,oma,pvf,rm,shn,sox,tak,truehd,tta,vob,voc,w64,wav,webm,wtv,wv,xwma,yuv4mpegpipe"
)
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")  # beginnings of files; WebP is known by its form

GONE = (errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.ENODEV)  # a server's or a disk's file

MOST_PIXELS = 8192 * 8192  # of a frame; what a damaged header states may be more than the memory holds
Recording = str | PathLike[str] | bytes
"""A file, or what one holds."""


def as_recording(
    source: str | PathLike[str] | bytes | bytearray | memoryview | IO[bytes], error: type[InputError] = InputError
) -> Recording:
    """What can be opened any number of times: a path as it is, bytes, and the rest of a binary file, read to its end.

    Raises:
        error: the file is not open to be read, or as text; or it is none of these.
    """
    if isinstance(source, str | PathLike):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    try:
        content = source.read()
    except AttributeError as reason:
        found = type(source).__name__
        raise error(f"a recording cannot be {found}: give a path, bytes or a binary file") from reason
    except (OSError, ValueError) as reason:
        raise error(f"cannot read {name_of(source)}: {explain(reason)}") from reason
    if not isinstance(content, bytes):
        raise error(f"{name_of(source)} is open as text: open it with the mode 'rb'")
    return content


def name_of(source: object) -> str:
    """What a recording is called in messages."""
    name = source if isinstance(source, str | PathLike) else getattr(source, "name", None)
    return str(name) if isinstance(name, str | PathLike) else "the recording"


@contextmanager
def open_stream(
    recording: Recording, kind: Literal["audio", "video"], error: type[InputError] = InputError, name: str | None = None
) -> Iterator[tuple[Any, Any]]:
    """Open a recording and choose its main stream of one kind; closes the file at the end.

    Yields:
        The PyAV container and stream.

    Raises:
        error: the file is absent, empty, no recording, or has no stream of this kind.
    """
    name = name or name_of(recording)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    file: str | BytesIO
    if isinstance(recording, bytes):
        if not recording:
            raise error(f"{name} is empty (0 bytes)")
        file = BytesIO(recording)
    else:
        check_readable(Path(recording), "a recording", error)
        # "file:" keeps FFmpeg from taking a name for an address.
        file, options = f"file:{fspath(recording)}", options | {"protocol_whitelist": "file"}
    try:
        container = av.open(file, options=options, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as reason:
        if kind == "audio" and _is_picture(recording):
            raise error(f"{name} is a picture, not a recording: are portrait and speech swapped?") from reason
        raise error(f"{name} is not a recording that can be read ({explain(reason)})") from reason
    try:
        stream = container.streams.best(kind)
        # The cover of a sound file, or a text that FFmpeg would type on a screen, is no recording.
        cover = stream is not None and stream.disposition & av.stream.Disposition.attached_pic
        if cover or stream is None or stream.codec_context is None or stream.codec_context.name == "ansi":
            word = {"audio": "sound", "video": "pictures"}[kind]
            raise error(f"{name} has no {word}: it is {container.format.long_name}")
        if kind == "video" and stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
            size = f"{stream.codec_context.width}x{stream.codec_context.height}"
            raise error(f"{name} has frames of {size} pixels: scale it down first")
        yield container, stream
    finally:
        container.close()


def _is_picture(recording: Recording) -> bool:
    """Whether a recording begins as JPEG, PNG, WebP, BMP or TIFF do."""
    if isinstance(recording, bytes):
        start = recording[:12]
    else:
        with open(recording, "rb") as file:
            start = file.read(12)
    return start.startswith(PICTURES) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """All frames of a stream that can be decoded, in order; damaged packets are skipped, a broken end ends it."""
    for packet in packets(container, stream):
        with suppress(FFmpegError, OSError, ValueError):
            for frame in stream.decode(packet):
                if stream.type != "video" or frame.width * frame.height <= MOST_PIXELS:  # it may grow on the way
                    yield frame


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets, then None, for which the decoder hands out what it still holds.

    Raises:
        InputError: the disk or the server with the file fails, which is not the end of the recording.
    """
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except (FFmpegError, OSError, ValueError) as error:
        path = container.name.removeprefix("file:")
        if _cannot_be_read(path, getattr(error, "errno", None)):
            raise InputError(f"cannot read {path}: {explain(error)}") from error
    yield None


def _cannot_be_read(path: str, number: int | None) -> bool:
    """Whether an error is the disk's; what FFmpeg calls an I/O error may also be a damaged file."""
    if number != errno.EIO:
        return number in GONE
    try:
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except FileNotFoundError:  # it was never one of a name, or is removed
        return False
    except OSError:
        return True
    return False


def duration(container: Any, stream: Any) -> Fraction | None:
    """Seconds that a stream, or else its container, promises; None where neither does."""
    if stream.duration is not None and stream.time_base is not None:
        return Fraction(stream.duration * stream.time_base)
    return None if container.duration is None else Fraction(container.duration, av.time_base)
