"""What an administrator decides: where files lie, who may come in, and how much they may ask for."""

from dataclasses import dataclass
from pathlib import Path

PORTRAIT, SPEECH = "portrait", "speech"  # files in a job's folder: what a client sent
STREAM, VIDEO, THUMBNAIL = "stream.mp4", "video.mp4", "thumbnail.webp"  # what it gets
READY = "ready"  # what the worker says to the server when it is
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Settings:
    """Of one server.

    Attributes:
        folder: of the jobs and their database; this server's alone.
        model, device: of the videos, as ``Pipeline.from_pretrained`` takes them.
        keys: of clients, each of which sees its own videos only; without any, everybody sees all.
        hosts: names under which the server is reached; requests to others are refused. ``*`` allows all.
        keep: seconds after which a finished job's files are deleted.
        body_bytes: of a request.
        portrait_bytes, portrait_pixels: of a photo.
        speech_bytes, speech_seconds: of a recording; seconds are counted while it is decoded.
        size: of a video's longer side in pixels, at most.
        waiting, waiting_per_key: jobs that may wait; the latter counts where there are several keys.
        streams: videos that are made at the same time because somebody watches them; one that nobody watches is made
            beside them.
        uploads: requests with a body that may come in at the same time.
        viewers: connections that may be open for streams and events.
        job_seconds: of work on one job.
        stall_seconds: without a sign of life from the worker until it is started again.
        idle_seconds: that a client may take for the next bytes, in either direction; ten times that for a whole body.
        live: people who may speak live at once, each to a process with a model of its own.
        live_seconds: that one may speak.
        tts: what says the text of a job, as ``kptalk.speak`` takes it, or None; ``tts_key`` is that server's.
        voices: that clients may ask for; the first one is the usual one. None: the engine's usual one.
        sign_cert, sign_key: of who signs finished videos' content credentials; files in PEM, both or none.
        memory_bytes: that a process which reads uploads may take beyond what its models take (Linux).
        free_bytes: of the disk, below which no job is accepted.
    """

    folder: Path
    model: str = "embedded"
    device: str = "auto"
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = LOCAL_HOSTS
    keep: float = 24 * 3600.0
    body_bytes: int = 120 << 20
    portrait_bytes: int = 20 << 20
    portrait_pixels: int = 50_000_000
    speech_bytes: int = 100 << 20
    speech_seconds: float = 600.0
    size: int = 4096
    waiting: int = 16
    waiting_per_key: int = 2
    streams: int = 4
    uploads: int = 8
    viewers: int = 64
    job_seconds: float = 3600.0
    stall_seconds: float = 120.0
    idle_seconds: float = 60.0
    live: int = 1
    live_seconds: float = 600.0
    tts: str | None = None
    tts_key: str | None = None
    voices: tuple[str, ...] = ()
    sign_cert: Path | None = None
    sign_key: Path | None = None
    memory_bytes: int = 8 << 30
    free_bytes: int = 1 << 30

    @property
    def jobs(self) -> Path:
        """Where every job has its folder."""
        return self.folder / "jobs"

    @property
    def portraits(self) -> Path:
        """Where photos lie that were uploaded before their jobs."""
        return self.folder / "portraits"
