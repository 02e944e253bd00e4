"""Prefetching in a thread."""

import threading
import time

import pytest

from colocam.data.loading.prefetch import prefetched


def test_items_are_computed_in_order_in_another_thread():
    def items():
        for number in range(20):
            assert threading.current_thread() is not threading.main_thread()
            yield number

    assert list(prefetched(items())) == list(range(20))
    assert list(prefetched(iter(()))) == []


def test_only_one_item_is_computed_ahead():
    drawn = []

    def items():
        for number in range(10):
            drawn.append(number)
            yield number

    for number in prefetched(items()):
        time.sleep(0.02)
        assert drawn[-1] == min(number + 1, 9)


def test_exceptions_of_the_iterator_are_raised_and_the_thread_ends():
    def items():
        yield 1
        raise RuntimeError("broken")

    reader = prefetched(items())
    assert next(reader) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(reader)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_the_thread_ends_when_iteration_stops_early():
    reader = prefetched(iter(range(1000)))
    assert next(reader) == 0
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
