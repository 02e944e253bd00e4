"""Worker processes for contour detection; threads would be serialized by Python's lock."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool

FEWEST_FRAMES = 128  # fewer are evaluated faster than processes start
MOST_PROCESSES = 8
IMPORTED_ONCE = ["__main__", "colocam.evaluation.corloc"]  # by the server, not by every process


def useful_processes(num_frames: int, ranks: int = 1) -> int:
    """Number of processes that speed up an evaluation on the CPU cores of this machine.

    Args:
        num_frames: frames to evaluate per rank.
        ranks: that share the cores.
    """
    if sys.platform != "linux" or num_frames < FEWEST_FRAMES:
        return 1
    return max(1, min(MOST_PROCESSES, len(os.sched_getaffinity(0)) // ranks))


@contextmanager
def contour_workers(processes: int) -> Iterator[Pool | None]:
    """Pool of processes for `CorLoc.add_all`, terminated after the block; None for one process.

    The processes are forks of a server that has neither CUDA nor threads: a fork of this process
    would have the locks of its threads without the threads. The server starts with the first pool
    (some seconds, for its imports) and serves all that follow.

    Args:
        processes: number of processes.
    """
    if processes == 1:
        yield None
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)
    with context.Pool(processes, _leave_signals_to_the_parent) as pool:
        yield pool


def _leave_signals_to_the_parent() -> None:
    """Ignores Ctrl-C, which reaches every process of a terminal; SIGTERM ends a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
