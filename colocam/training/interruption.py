"""SIGTERM and SIGINT: the step is finished, the state written, then the run ends."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PASSED_ON = 3.0  # seconds in which a second SIGTERM is taken for the first one, passed on


class Interrupted(Exception):
    """A run that was asked to stop, and has written its state.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """Whether a signal has come. A second one ends the process at once.

    But not a second SIGTERM right after the first: schedulers send it to every process of a job,
    and launchers among these pass it on.

    Attributes:
        number: of the signal that came; 0: none.
    """

    number = 0
    _came = 0.0

    def receive(self, number: int, _: FrameType | None) -> None:
        """Signal handler."""
        if not self.number:
            self.number, self._came = number, time.monotonic()
        elif number != signal.SIGTERM or time.monotonic() - self._came > PASSED_ON:
            os._exit(128 + number)


@contextmanager
def signals_noted() -> Iterator[Interruption]:
    """Within the block signals are noted instead of ending the process."""
    interruption = Interruption()
    before = {}
    for number in SIGNALS:
        try:
            before[number] = signal.signal(number, interruption.receive)
        except ValueError:  # not the main thread: signals go where they went
            break
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
