"""Reading MATLAB files in a process of its own: a damaged file can crash scipy's reader."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any


class MatlabReader:
    """A process that reads one file after the other; started at the first, and after a crash."""

    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None

    def read(self, path: str) -> dict[str, Any]:
        """The variables of a MATLAB file by name, those of its header aside.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged, or no MATLAB file.
        """
        if self._process is None:
            # Spawned, as this process has threads (progress) that a forked one would lack.
            self._process = ProcessPoolExecutor(1, get_context("spawn"), _leave_ctrl_c)
        try:
            return self._process.submit(_read, path).result()
        except BrokenProcessPool as error:
            self._process = None
            raise ValueError("its reader crashed") from error


def _leave_ctrl_c() -> None:
    """The process that asks ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(path: str) -> dict[str, Any]:
    from scipy.io import loadmat  # an optional dependency

    try:
        with open(path, "rb") as file:
            variables = loadmat(file)
    except Exception as error:  # loadmat fails in as many ways as a file can be damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(" ".join(str(error).split())[:100]) from None
    return {name: value for name, value in variables.items() if not name.startswith("__")}
