"""The application: its routes, its protection, and what runs beside it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

from kptalk.errors import MissingExtra, OutputError
from kptalk.files import explain, lock_file, make_folder

try:
    import python_multipart  # noqa: F401  # FastAPI's forms need it, and say so only in use
    from fastapi import FastAPI
except ImportError as error:
    raise MissingExtra("the server needs FastAPI: pip install 'kptalk[serve]'") from error

from kptalk.serve import live, metrics, page, portraits, reference, videos
from kptalk.serve.api import Server, answer_errors
from kptalk.serve.live_sessions import LiveSessions
from kptalk.serve.protect import Protection
from kptalk.serve.settings import Settings
from kptalk.serve.store import Store
from kptalk.serve.supervisor import WorkerProcess, Workers
from kptalk.version import __version__

HOUSEKEEPING = 30.0  # seconds between looks for what has expired
CLOCK_SET = 60.0  # seconds that the clock has moved beside time itself, after which somebody has set it
UPLOADING = 3600.0  # seconds after which a folder without a job was left by a server that was killed
ROUTERS = (page.router, videos.router, portraits.router, live.router, metrics.router, reference.router)
logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    workers: Callable[[Settings, Store], Workers] = WorkerProcess,
    sessions: Callable[[Settings], LiveSessions] = LiveSessions,
) -> FastAPI:
    """The ASGI application of a server; its worker runs as long as the application does.

    Args:
        settings: what the administrator decides.
        workers: makes what makes the videos; a process of its own by default.
        sessions: makes what speaks live; processes of their own by default.

    Raises:
        OutputError: the folder cannot be made or written to, or another server is at work there.
    """
    make_folder(settings.folder)
    _locked(settings.folder / "server.lock").close()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with _locked(settings.folder / "server.lock"):
            server = app.state.server = _open_server(settings, workers, sessions(settings))
            keeping = asyncio.create_task(_keep_house(server))
            server.workers.start()
            try:
                yield
            finally:
                keeping.cancel()
                await asyncio.to_thread(server.live.stop)
                await asyncio.to_thread(server.workers.stop)
                server.store.close()

    app = FastAPI(title="kptalk", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    for router in ROUTERS:
        app.include_router(router)
    answer_errors(app)
    app.add_middleware(Protection, settings=settings)
    app.openapi()  # builds the routes, which would otherwise be done at the first request, beside other threads
    return app


def _open_server(settings: Settings, workers: Callable[[Settings, Store], Workers], live: LiveSessions) -> Server:
    for folder in (settings.jobs, settings.portraits):
        make_folder(folder)
        folder.chmod(0o700)
    store = Store(settings.folder / "jobs.sqlite")
    store.requeue(None, killed=True, keep=settings.keep)
    store.forget_clients()
    return Server(settings, store, workers(settings, store), live)


def _locked(path: Path) -> FileIO:
    try:
        return lock_file(path)
    except BlockingIOError:
        raise OutputError(f"another server is at work in {path.parent}: give another folder") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {explain(error)}") from error


async def _keep_house(server: Server) -> None:
    """Delete what has expired, and what nobody will ask for; notice when somebody sets the clock."""
    clock = time.time() - time.monotonic()
    while True:
        try:
            moved = time.time() - time.monotonic() - clock
            if abs(moved) > CLOCK_SET:
                await asyncio.to_thread(server.store.clock_set, moved, server.settings.keep)
                clock += moved
            await asyncio.to_thread(clean, server, time.time())
        except (OSError, sqlite3.Error) as error:  # a full disk, for example, which deleting may help
            logger.warning("what has expired could not be deleted: %s", error)
        await asyncio.sleep(HOUSEKEEPING)


def clean(server: Server, now: float) -> None:
    """Delete the files of expired jobs and photos, and of uploads that never became a job."""
    settings, store = server.settings, server.store
    for job in store.expire(now):
        shutil.rmtree(settings.jobs / job, ignore_errors=True)
    for portrait in store.expire_portraits(now - settings.keep):
        shutil.rmtree(settings.portraits / portrait, ignore_errors=True)
    for folder in settings.jobs.iterdir():
        if now - folder.stat().st_mtime > UPLOADING and store.get(folder.name) is None:
            shutil.rmtree(folder, ignore_errors=True)
