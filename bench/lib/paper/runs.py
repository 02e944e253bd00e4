"""Training runs of bench/paper.py: one after the other, or beside each other."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from colocam.runtime.errors import UserError

TRAIN = Path(__file__).resolve().parents[3] / "train.py"

_children: set[subprocess.Popen[bytes]] = set()


def train(arguments: Sequence[str], threads: int | None, log: Path) -> None:
    """train.py in a process of its own; goes on where one was stopped.

    Args:
        arguments: of it.
        threads: of it; None: as torch chooses, and it shows its progress.
        log: gets all that a run with `threads` says, as others say theirs at the same time.

    Raises:
        UserError: it failed.
    """
    command = [sys.executable, os.fspath(TRAIN), *arguments, "--resume"]
    if threads is None:
        status = _wait(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        told = "its message stands above"
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            status = _wait(
                subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
            )
        told = f"its last line: {_last_line(log)}"
    if status:
        raise UserError(f"{' '.join(command)}: failed; {told}")


def _wait(child: "subprocess.Popen[bytes]") -> int:
    _children.add(child)
    try:
        return child.wait()
    finally:
        _children.discard(child)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"none ({log})"


def run_beside(tasks: Sequence[Callable[[], None]], jobs: int, done: Callable[[int], None]) -> None:
    """At most `jobs` at once, in their order.

    After a failure those that have begun are finished, and no more are begun. An interruption
    reaches the training runs, which write their states.

    Args:
        tasks: each trains in this process's children.
        jobs: at least 1.
        done: is told the number of each task that is done.

    Raises:
        UserError: of the first task that failed.
    """
    stop = threading.Event()

    def unless_stopped(task: Callable[[], None]) -> None:
        if not stop.is_set():
            try:
                task()
            except BaseException:
                stop.set()  # here: whoever is free would begin another before it is told
                raise

    with _terminations_raised(), ThreadPoolExecutor(jobs) as pool:
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
def _terminations_raised() -> Iterator[None]:
    """SIGTERM ends the block as an exception; left to itself it would leave children behind."""
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
