"""A Ray cluster, as this process is connected to it."""

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeVar
from urllib.parse import urlsplit

from kptalk.errors import MissingExtra, OptionError

PATIENCE = 30.0  # seconds that a machine may take to do a task
ANSWER = 5.0  # seconds until its head has taken a connection
HEAD_PORT, CLIENT_PORT = 6379, 10001  # of Ray's head, and of its server for ray:// addresses
Result = TypeVar("Result")


class Cluster:
    """The Ray cluster that this process is connected to, or becomes connected to; then it is ``ours`` to leave."""

    def __init__(self, address: str | None = None) -> None:
        """Connect to it; without an address to that of the Ray job that this is, or one that is started here.

        Raises:
            MissingExtra: Ray is not installed.
            OptionError: no cluster answers at the address.
        """
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("the engine ray is not installed: pip install 'kptalk[cluster]'") from error
        self.ray = ray
        self.ours = not ray.is_initialized()
        if self.ours:
            job, last = _found_by_ray()
            asked = job or last if address in (None, "auto") else address
            if asked not in (None, "auto", "local") and not _answers(asked):
                if address or job:
                    raise OptionError(f"address is {address or job!r}: no Ray cluster answers there")
                address = "local"  # the last cluster here has died without a word
            main = threading.current_thread() is threading.main_thread()
            before = signal.getsignal(signal.SIGTERM)
            try:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise OptionError(f"address is {address!r}: no Ray cluster answers there") from error
            finally:
                if main:  # Ray takes the signal for itself
                    signal.signal(signal.SIGTERM, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.ours:
            self.ray.shutdown()

    def count(self, kind: str) -> float:
        """How many there are in all: ``CPU`` or ``GPU``."""
        return float(self.ray.cluster_resources().get(kind, 0))

    def everywhere(self, function: Callable[[], Result]) -> list[Result]:
        """What a function gives on every machine that answers."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        nodes = [node["NodeID"] for node in self.ray.nodes() if node["Alive"]]
        task = self.ray.remote(num_cpus=0)(_call)
        answers = [task.options(scheduling_strategy=On(node, soft=False)).remote(function) for node in nodes]
        found: list[Result] = []
        for answer in answers:
            with suppress(self.ray.exceptions.RayError):  # of a machine that has just gone, or does not answer
                found.append(self.ray.get(answer, timeout=PATIENCE))
        return found


def _found_by_ray() -> tuple[str | None, str | None]:
    """The addresses that Ray takes where none is given: of the job that this is, and of the last that began here."""
    with suppress(ImportError, AttributeError, TypeError):  # they have no public names
        from ray._private.services import find_bootstrap_address, get_ray_address_from_environment

        last, found = find_bootstrap_address(None), get_ray_address_from_environment(None, None)
        return found if found != last else None, last
    return None, None


def _answers(address: str) -> bool:
    """Whether anything listens there; Ray itself would wait for more than a minute."""
    client = address.startswith("ray://")
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = parts.port or (CLIENT_PORT if client else HEAD_PORT)
        socket.create_connection((parts.hostname or "", port), timeout=ANSWER).close()
    except (OSError, ValueError):
        return False
    return True


def _call(function: Callable[[], Result]) -> Result:
    return function()
