"""``kptalk serve``."""

import logging
import os
import re
import signal
import socket
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kptalk.cli import console, options, process, text
from kptalk.cli.credentials import SignCert, SignKey, signer_of, signing_files
from kptalk.errors import MissingExtra, OptionError

if TYPE_CHECKING:
    pass

KEYS = "KPTALK_API_KEY"
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
FOLDER = Path("kptalk-serve")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CONNECTIONS = 512  # open at the same time, whatever they say
GRACEFUL = 5  # seconds that open streams may hold the end
OUTCOME = "the videos that are not finished are made at the next start"


def serve(
    folder: Annotated[Path, options.flag("Folder of the jobs and their files, this server's alone.")] = FOLDER,
    keep: Annotated[str, options.flag("How long finished videos are kept: 30m, 24h, 7d.")] = "24h",
    host: Annotated[str, options.flag("Address to listen at.", group="Server")] = "127.0.0.1",
    port: Annotated[int, options.flag("Port to listen at.", group="Server")] = 8000,
    name: Annotated[
        list[str] | None,
        options.flag("Name under which clients reach the server, beside localhost; * for any.", group="Server"),
    ] = None,
    no_auth: Annotated[
        bool,
        options.flag(f"Listen at other addresses without the keys of {KEYS}.", "--no-auth", group="Server"),
    ] = False,
    portrait_mb: Annotated[int, options.flag("Largest photo, MB.", group="Limits")] = 20,
    speech_mb: Annotated[int, options.flag("Largest recording, MB.", group="Limits")] = 100,
    speech_seconds: Annotated[float, options.flag("Longest recording.", group="Limits")] = 600,
    max_size: Annotated[int, options.flag("Largest longer side of a video, pixels.", group="Limits")] = 4096,
    waiting: Annotated[int, options.flag("Videos that may wait.", group="Limits")] = 16,
    waiting_per_key: Annotated[int, options.flag("Videos that may wait of one of several keys.", group="Limits")] = 2,
    streams: Annotated[int, options.flag("Videos made at the same time because they are watched.", group="Limits")] = 4,
    viewers: Annotated[int, options.flag("Streams that may be open.", group="Limits")] = 64,
    job_minutes: Annotated[float, options.flag("Longest work on a video.", group="Limits")] = 60,
    free_mb: Annotated[int, options.flag("Free disk space to leave, MB.", group="Limits")] = 1024,
    memory_mb: Annotated[int, options.flag("Memory of a worker beyond its models, MB (Linux).", group="Limits")] = 8192,
    live: Annotated[int, options.flag("People who may speak live at once; 0: nobody.", group="Limits")] = 1,
    live_minutes: Annotated[float, options.flag("Longest time that one speaks live.", group="Limits")] = 10,
    tts: Annotated[
        str | None,
        options.flag("Lets clients send text: who says it, as for animate.", group="Text", words=options.ENGINES),
    ] = None,
    voice: Annotated[
        list[str] | None, options.flag("Voice that clients may ask for, the usual one first.", group="Text")
    ] = None,
    sign_cert: SignCert = None,
    sign_key: SignKey = None,
    model: options.Model = "embedded",
    device: options.Device = "auto",
    engine: options.Engine = "local",
    jobs: Annotated[
        int | None, options.flag("Replicas on the cluster; by default as many as fit.", group="Other", metavar="N")
    ] = None,
    address: options.Address = None,
    gpus: options.Gpus = None,
) -> None:
    """Serve a page and an HTTP API that make videos."""
    keys = tuple(filter(None, re.split(r"[\s,]+", os.environ.get(KEYS, ""))))
    if host not in LOCAL and not keys and not no_auth:
        raise OptionError(f"host is {host}: set {KEYS}, or say --no-auth to let everybody in")
    limits = {"portrait_mb": portrait_mb, "speech_mb": speech_mb, "speech_seconds": speech_seconds, "waiting": waiting}
    limits |= {"max_size": max_size, "waiting_per_key": waiting_per_key, "streams": streams, "viewers": viewers}
    for limit, value in (limits | {"job_minutes": job_minutes, "free_mb": free_mb + 1, "memory_mb": memory_mb}).items():
        if not value > 0:
            raise OptionError(f"{limit} is {value}: give more than 0")
    with console.loading():
        try:
            import uvicorn
        except ImportError as error:
            raise MissingExtra("the server needs uvicorn: pip install 'kptalk[serve]'") from error
        from kptalk.engine import check_engine
        from kptalk.serve.app import create_app
        from kptalk.serve.run import EndingServer
        from kptalk.serve.settings import LOCAL_HOSTS, Settings

    check_engine(engine)
    if engine == "local" and (jobs, address, gpus) != (None, None, None):
        raise OptionError("--jobs, --address and --gpus belong to --engine ray: one local worker takes turns")
    if jobs is not None and jobs < 1:
        raise OptionError(f"jobs is {jobs}: give 1 or more")
    signing = signing_files(sign_cert, sign_key)
    if signing is not None:
        signer_of(*signing)  # what is wrong with them is said now, not after the first video
    if tts is not None:
        text.check_voices(tts, voice or [])
    settings = Settings(
        folder.absolute(),
        model=model,
        device=device,
        keys=keys,
        hosts=_hosts(host, name or [], LOCAL_HOSTS, bool(keys) or no_auth),
        keep=parse_time(keep),
        body_bytes=(portrait_mb + speech_mb + 1) << 20,
        portrait_bytes=portrait_mb << 20,
        speech_bytes=speech_mb << 20,
        speech_seconds=speech_seconds,
        size=max_size,
        waiting=waiting,
        waiting_per_key=waiting_per_key,
        streams=streams,
        viewers=viewers,
        job_seconds=60 * job_minutes,
        free_bytes=free_mb << 20,
        memory_bytes=memory_mb << 20,
        live=live,
        live_seconds=60 * live_minutes,
        tts=tts,
        tts_key=os.environ.get(text.KEY),
        voices=tuple(voice or ()),
        sign_cert=signing and signing[0],
        sign_key=signing and signing[1],
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if engine == "ray":
        from kptalk.serve.cluster import ClusterWorkers

        app = create_app(settings, partial(ClusterWorkers, replicas=jobs, address=address, gpus=gpus))
    else:
        app = create_app(settings)
    config = uvicorn.Config(
        app,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACEFUL,
        limit_concurrency=CONNECTIONS,
    )
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    console.output.print(f"kptalk is at http://{shown}:{listening.getsockname()[1]}")
    signal.set_wakeup_fd(-1)  # the end takes as long as open streams may hold it, not what a command has
    with process.outcome(lambda: OUTCOME):
        EndingServer(config).run(sockets=[listening])


def parse_time(text: str) -> float:
    """Seconds, from text such as 30m, 24h or 7d.

    Raises:
        OptionError: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text.strip())
    if found is None or not float(found[1]):
        raise OptionError(f"keep is {text!r}: give a time such as 30m, 24h or 7d")
    return float(found[1]) * UNITS[found[2]]


def _hosts(host: str, names: list[str], local: tuple[str, ...], guarded: bool) -> tuple[str, ...]:
    """The names that requests may use: all where a server for others has been given none."""
    if host not in LOCAL and guarded and not names:
        return ("*",)
    return (*local, *([] if host in LOCAL else [host]), *names)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound; raises OptionError where it cannot be."""
    if not 0 <= port <= 65535:  # the system would take another
        raise OptionError(f"port is {port}: give 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            return listening.dup()
    except OSError as error:
        raise OptionError(f"cannot listen at {host}, port {port}: {error}") from error
