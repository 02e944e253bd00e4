"""Prefetching: a thread computes the next item, such as decoded frames, while one is used."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def prefetched(items: Iterator[T]) -> Generator[T, None, None]:
    """Iterates over `items` in another thread, one item ahead.

    At most one item waits, so that memory stays bounded. Exceptions of the iterator are raised
    here.

    Args:
        items: the iterator.

    Yields:
        Its items, in order.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        waiting = pool.submit(next, items, _END)
        while (item := waiting.result()) is not _END:
            waiting = pool.submit(next, items, _END)
            yield item
    finally:
        pool.shutdown(cancel_futures=True)  # waits for an item that is being computed
