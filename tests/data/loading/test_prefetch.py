"""Work done ahead by a thread."""

import threading
import time

import pytest

from colocam.data.loading.prefetch import prefetched


def test_items_come_in_order_from_another_thread():
    def items():
        for number in range(20):
            assert threading.current_thread() is not threading.main_thread()
            yield number

    assert list(prefetched(items())) == list(range(20))
    assert list(prefetched(iter(()))) == []


def test_one_item_is_drawn_while_the_one_before_is_used_and_no_more():
    drawn = []

    def items():
        for number in range(10):
            drawn.append(number)
            yield number

    for number in prefetched(items()):
        time.sleep(0.02)
        assert drawn[-1] == min(number + 1, 9)


def test_what_the_iterator_raises_comes_out_and_no_thread_stays():
    def items():
        yield 1
        raise RuntimeError("broken")

    reader = prefetched(items())
    assert next(reader) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(reader)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_a_reader_that_stops_early_leaves_no_thread():
    reader = prefetched(iter(range(1000)))
    assert next(reader) == 0
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
