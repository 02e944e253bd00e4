"""Training runs of bench/paper.py: subprocesses of train.py, sequential or in parallel."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from lib import ROOT

from colocam.runtime.errors import UserError

TRAIN = ROOT / "train.py"

_children: set[subprocess.Popen[bytes]] = set()


def train(arguments: Sequence[str], threads: int | None, log: Path) -> None:
    """Runs train.py in a subprocess; resumes an interrupted run.

    Args:
        arguments: of train.py.
        threads: of the subprocess; None: the default of torch, and progress is shown.
        log: output of a run with `threads`, whose progress is not shown.

    Raises:
        UserError: the run failed.
    """
    command = [sys.executable, os.fspath(TRAIN), *arguments, "--resume"]
    if threads is None:
        status = _wait(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        message = "its message is printed above"
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            status = _wait(
                subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
            )
        message = f"its last line: {_last_line(log)}"
    if status:
        raise UserError(f"{' '.join(command)}: failed; {message}")


def _wait(child: "subprocess.Popen[bytes]") -> int:
    _children.add(child)
    try:
        return child.wait()
    finally:
        _children.discard(child)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"none ({log})"


def run_parallel(
    tasks: Sequence[Callable[[], None]], jobs: int, done: Callable[[int], None]
) -> None:
    """Runs tasks in order, at most `jobs` at a time.

    After a failure, running tasks finish and no further task is started. An interruption
    terminates the training runs, which write their states.

    Args:
        tasks: each trains in subprocesses of this process.
        jobs: at least 1.
        done: called with the index of each finished task.

    Raises:
        UserError: raised by the first failed task.
    """
    stop = threading.Event()

    def unless_stopped(task: Callable[[], None]) -> None:
        if not stop.is_set():
            try:
                task()
            except BaseException:
                stop.set()  # in this thread: an idle worker must not start another task
                raise

    with _sigterm_raises(), ThreadPoolExecutor(jobs) as pool:
        try:
            running = {pool.submit(unless_stopped, task): i for i, task in enumerate(tasks)}
            for future in as_completed(running):
                future.result()
                done(running[future])
        except BaseException as error:
            stop.set()
            if not isinstance(error, UserError):
                for child in list(_children):
                    child.terminate()
            raise


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Context in which SIGTERM raises SystemExit; by default subprocesses would keep running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
