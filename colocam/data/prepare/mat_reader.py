"""Reader of MATLAB files in a separate process, as a damaged file can crash SciPy's reader."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any


class MatlabReader:
    """Reads MATLAB files in a child process, started at the first call and again after a crash."""

    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None

    def read(self, path: str) -> dict[str, Any]:
        """Reads the variables of a MATLAB file by name, without those of its header.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged or not a MATLAB file.
        """
        if self._process is None:
            # Spawned, not forked: this process has threads (progress display).
            self._process = ProcessPoolExecutor(1, get_context("spawn"), _ignore_ctrl_c)
        try:
            return self._process.submit(_read, path).result()
        except BrokenProcessPool as error:
            self._process = None
            raise ValueError("its reader crashed") from error


def _ignore_ctrl_c() -> None:
    """Ignores SIGINT; the parent process terminates the child."""
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
