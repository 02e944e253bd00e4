"""Work that a thread does ahead: decoding while the network computes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """The items of an iterator, each drawn by another thread while the one before is used.

    What the iterator raises comes out here. One item at most waits, so that memory stays bounded.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        waiting = pool.submit(next, items, _END)
        while (item := waiting.result()) is not _END:
            waiting = pool.submit(next, items, _END)
            yield item
    finally:
        pool.shutdown(cancel_futures=True)  # an item that is being drawn is waited for
