"""SIGTERM and SIGINT: the step is finished and the training state written, then the run ends."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FORWARDING_SECONDS = 3.0  # a second SIGTERM within this time counts as the first one, forwarded


class Interrupted(Exception):
    """Raised by a run that received a signal and has written its training state.

    Attributes:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """Signal handler that records the first signal. A second signal ends the process at once.

    A second SIGTERM within `FORWARDING_SECONDS` of the first is ignored: schedulers send SIGTERM
    to every process of a job, and the launchers among them forward it.

    Attributes:
        number: number of the signal received; 0: none.
    """

    number = 0
    _received_at = 0.0

    @property
    def name(self) -> str:
        """Name of the signal received, such as "SIGINT"."""
        return signal.Signals(self.number).name

    def receive(self, number: int, _: FrameType | None) -> None:
        """Handles a signal."""
        if not self.number:
            self.number, self._received_at = number, time.monotonic()
        elif number != signal.SIGTERM or time.monotonic() - self._received_at > FORWARDING_SECONDS:
            os._exit(128 + number)


@contextmanager
def catch_signals() -> Iterator[Interruption]:
    """Records SIGTERM and SIGINT within the block instead of ending the process."""
    interruption = Interruption()
    before = {}
    for number in SIGNALS:
        try:
            before[number] = signal.signal(number, interruption.receive)
        except ValueError:  # not the main thread: signal handlers stay as they are
            break
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
