"""The videos of a server made on a Ray cluster: the server keeps the jobs and the files, replicas do the work.

A replica that dies is replaced by Ray Serve, and its job is made again from the start. The bytes are the same, so those
that were written already are left out, and who watches sees the video go on.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kptalk.cluster import Cluster
from kptalk.errors import WorkerDied
from kptalk.files import atomic_write
from kptalk.serve.making import Maker, Start
from kptalk.serve.settings import PORTRAIT, SPEECH, STREAM, VIDEO, Settings
from kptalk.serve.signing import sign
from kptalk.serve.store import Job, PortraitRequest, Store
from kptalk.serve.supervisor import STOPPING, Load

IDLE = 0.25  # seconds between looks at the store, where nothing wakes a thread earlier
TRIES = 3  # replicas that may die while they make a video
LOOKING = 60.0  # seconds that finding faces may take
logger = logging.getLogger(__name__)


class ClusterWorkers:
    """As many videos at a time as there are replicas, each fetched by a thread.

    Attributes:
        ready: whether the replicas have loaded the model.
        restarts: how often a replica died at its work.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        replicas: int | None = None,
        address: str | None = None,
        gpus: float | None = None,
        load: Load | None = None,
    ) -> None:
        """Connect to the cluster.

        Args:
            settings, store: of the server.
            replicas: how many; None for one a core of the cluster but two, or as many as its GPUs let.
            address: see ``kptalk.cluster.Cluster``.
            gpus: that each replica asks for; None for one where the cluster has GPUs.
            load: makes the pipeline in a replica.

        Raises:
            MissingExtra, OptionError: as ``Cluster``.
        """
        self._settings, self._store, self._load = settings, store, load
        self._cluster = Cluster(address)
        self._gpus = float(self._cluster.count("GPU") > 0) if gpus is None else gpus
        fitting = self._cluster.count("GPU") / self._gpus if self._gpus else self._cluster.count("CPU") - 2
        self._replicas = replicas or max(1, int(fitting))
        place = f"{socket.gethostname()}:{settings.folder}"  # a server that is started again takes its replicas over
        self._name = f"kptalk-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
        self.ready, self.restarts = False, 0
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._awake = [threading.Event() for _ in range(self._replicas + 1)]
        self._opened: set[str] = set()
        self._threads = [threading.Thread(target=self._run, name="kptalk-cluster", daemon=True)]

    def start(self) -> None:
        """Start the replicas; they are ready later."""
        self._threads[0].start()

    def wake(self) -> None:
        """Let the threads look at the store now."""
        for event in self._awake:
            event.set()

    def stop(self) -> None:
        """End the replicas; unfinished jobs stay for the next start."""
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join(2 * STOPPING)
        from ray import serve

        with suppress(Exception):  # a cluster that is gone needs no end
            for name in (self._name, f"{self._name}-faces"):
                serve.delete(name)
            if self._cluster.ours and not serve.status().applications:
                serve.shutdown()
        self._cluster.__exit__()

    def take(self) -> Job | None:
        """The job that is to be made next by who asks: one that is watched, otherwise the oldest."""
        with self._lock:
            waiting = [job for job in self._store.unfinished() if job.id not in self._opened]
            chosen = next((job for job in waiting if job.viewers), waiting[0] if waiting else None)
            if chosen is not None:
                self._opened.add(chosen.id)
            return chosen

    def give_free(self, job: str) -> None:
        """It is made no more."""
        with self._lock:
            self._opened.discard(job)

    def _run(self) -> None:
        try:
            handles = self._deploy()
        except Exception:
            logger.exception("the replicas could not be started")
            return
        self.ready = True
        for number, event in enumerate(self._awake):
            work = self._look if number == self._replicas else self._make
            thread = threading.Thread(target=work, args=(handles, event), name=f"kptalk-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _deploy(self) -> Sequence[Any]:
        """The handles of the replicas and of what finds faces, once all are ready."""
        from ray import serve

        from kptalk.serve.replica import Looker, Replica, settings_for

        quiet = {"log_level": "WARNING"}
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled", logging_config=quiet)  # this server is the one that is talked to
        resources = {"num_cpus": 1, "num_gpus": self._gpus}
        makers = serve.deployment(num_replicas=self._replicas, max_ongoing_requests=1, ray_actor_options=resources)
        looker = serve.deployment(num_replicas=1, max_ongoing_requests=1, ray_actor_options={"num_cpus": 0.1})
        told = settings_for(self._settings)
        return (
            serve.run(makers(Replica).bind(told, self._load), name=self._name, route_prefix=None),
            serve.run(looker(Looker).bind(told), name=f"{self._name}-faces", route_prefix=None),
        )

    def _make(self, handles: Sequence[Any], awake: threading.Event) -> None:
        """The life of a thread: one job after the other."""
        maker = _RemoteMaker(self._settings, self._store, handles, self)
        while not self._stopping.is_set():
            if (job := self.take()) is None:
                awake.wait(IDLE)
                awake.clear()
                continue
            try:
                maker.make(job, self._stopping)
            finally:
                self.give_free(job.id)

    def _look(self, handles: Sequence[Any], awake: threading.Event) -> None:
        """The life of the thread that has faces found."""
        maker = _RemoteMaker(self._settings, self._store, handles, self)
        while not self._stopping.is_set():
            if (request := self._store.next_portrait()) is None:
                awake.wait(IDLE)
                awake.clear()
            else:
                maker.look(request.id)


class _RemoteMaker(Maker):
    """Fetches one video at a time."""

    def __init__(self, settings: Settings, store: Store, handles: Sequence[Any], workers: ClusterWorkers) -> None:
        super().__init__(settings, store)
        self._replicas, self._looker = handles
        self._workers = workers

    def make(self, job: Job, stopping: threading.Event) -> None:
        """Make a job's video, until it is finished or cancelled, or the server stops."""
        self._begin(job)
        while job.id in self._open and not stopping.is_set():
            current = self._store.get(job.id)
            if current is None or current.status != "in_progress":
                break
            self._step(current, self._open[job.id])
        self._close(job.id)

    def look(self, portrait: str) -> None:
        """Have the faces of a photo found."""
        self._look(portrait)

    def _steps(self, job: Job) -> Generator[Start | int, None, None]:
        from ray.exceptions import RayError

        folder, written = self._settings.jobs / job.id, 0
        (folder / STREAM).write_bytes(b"")
        for attempt in range(TRIES):
            skipped = 0
            try:
                for message in self._messages(job, folder):
                    if isinstance(message, bytes):
                        new = message[max(0, written - skipped) :]
                        with (folder / STREAM).open("ab") as file:
                            file.write(new)
                        skipped, written = skipped + len(message), written + len(new)
                    elif not (attempt and isinstance(message, Start)):
                        yield message
                return
            except RayError as error:
                logger.warning("a replica ended at %s: %s", job.id, str(error).strip().splitlines()[0])
                self._workers.restarts += 1
        raise WorkerDied(f"the worker ended {TRIES} times while it made this video")

    def _messages(self, job: Job, folder: Path) -> Generator[Start | int | bytes, None, None]:
        """What a replica sends: the start, bytes of the growing video and frames; files are written here."""
        from kptalk.serve.replica import Failure, File, Piece

        answer = self._replicas.options(stream=True).render.remote(
            job, (folder / PORTRAIT).read_bytes(), (folder / SPEECH).read_bytes()
        )
        try:
            for message in answer:
                if isinstance(message, Failure):
                    raise message.error
                if isinstance(message, File):
                    with atomic_write(folder / message.name) as path:
                        path.write_bytes(message.content)
                        if message.name == VIDEO:
                            sign(job, folder, path, self._settings)
                elif isinstance(message, Piece):
                    yield message.content
                    if message.frames >= 0:
                        yield message.frames
                else:
                    yield message
        finally:
            with suppress(Exception):  # it may be at its end, or gone
                answer.cancel()

    def _faces(self, request: PortraitRequest, path: Path) -> dict[str, Any]:
        from kptalk.serve.replica import Failure

        found: dict[str, Any] | Failure = self._looker.find.remote(request, path.read_bytes()).result(LOOKING)
        if isinstance(found, Failure):
            raise found.error
        return found
