"""Reading ahead: an iterator that works in a thread of its own while what it made is being used."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """The items of a generator in their order, made by one other thread, at most ``depth`` before they are asked for.

    What the generator raises is raised here after the items before it. Closing, as ``contextlib.closing`` does, waits
    for the item in the making and closes the generator; when the program ends, no thread is left waiting.
    """
    with ThreadPoolExecutor(1, "kptalk-ahead") as thread:
        waiting: deque[Future[list[T]]] = deque()
        try:
            waiting.extend(thread.submit(_following, items) for _ in range(depth))
            while item := waiting.popleft().result():
                waiting.append(thread.submit(_following, items))
                yield item[0]
        finally:
            thread.shutdown(cancel_futures=True)
            items.close()


def _following(items: Generator[T, None, None]) -> list[T]:
    """The next item, in a list; an empty list after the last."""
    return list(islice(items, 1))
