"""Processes that look for contours: OpenCV's calls are short, and threads would wait for Python."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool

WORTH = 128  # frames: fewer are done before the processes have started
MOST = 8


def useful_processes(num_frames: int, ranks: int = 1) -> int:
    """How many processes a rank may start for so many frames, for the CPU cores it has."""
    if sys.platform != "linux" or num_frames < WORTH:
        return 1
    return max(1, min(MOST, len(os.sched_getaffinity(0)) // ranks))


@contextmanager
def contour_workers(processes: int) -> Iterator[Pool | None]:
    """A pool of processes for `CorLoc.add_all`, ended after the block; None for one process.

    They are forks of this one that use NumPy and OpenCV alone.
    """
    if processes == 1:
        yield None
        return
    with multiprocessing.get_context("fork").Pool(processes, _leave_signals_to_the_parent) as pool:
        yield pool


def _leave_signals_to_the_parent() -> None:
    """Ctrl-C reaches all processes of a terminal; SIGTERM is how the pool ends its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
