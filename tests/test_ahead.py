"""Reading ahead: order, depth, errors, closing."""

import threading
import time
from contextlib import closing

import pytest

from kptalk.ahead import read_ahead


class Counted:
    """Numbers, and what has become of their generator."""

    def __init__(self, end, error=None):
        self.made, self.threads, self.closed, self.end, self.error = 0, set(), False, end, error

    def numbers(self):
        try:
            while self.made < self.end:
                self.threads.add(threading.current_thread().name)
                self.made += 1
                yield self.made - 1
            if self.error:
                raise self.error
        finally:
            self.closed = True


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_items_and_their_order_stay(depth):
    source = Counted(20)
    assert list(read_ahead(source.numbers(), depth)) == list(range(20))
    assert source.closed
    assert threading.current_thread().name not in source.threads


def test_none_and_empty_are_items_too():
    assert list(read_ahead((item for item in [None, 0, [], ""]), 2)) == [None, 0, [], ""]
    assert list(read_ahead((item for item in []), 2)) == []


def test_nothing_runs_before_it_is_read_and_no_more_than_the_depth_ahead():
    source = Counted(100)
    items = read_ahead(source.numbers(), 3)
    time.sleep(0.05)
    assert source.made == 0
    with closing(items):
        for number in range(10):
            assert next(items) == number
            time.sleep(0.01)
            assert source.made <= number + 4
    time.sleep(0.05)
    assert source.closed
    assert source.made <= 13
    assert not [thread for thread in threading.enumerate() if thread.name in source.threads]


@pytest.mark.parametrize("error", [ValueError("no more"), KeyboardInterrupt()])
def test_an_error_comes_after_the_items_before_it(error):
    source = Counted(5, error)
    items = read_ahead(source.numbers(), 8)
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(type(error)):
        next(items)
    assert source.closed


def test_closing_unread_runs_nothing():
    source = Counted(5)
    read_ahead(source.numbers(), 2).close()
    assert source.made == 0
