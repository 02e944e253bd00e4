"""Connection: the frames of a stream, which is opened again when it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from colocam.data.decoding.timestamps import TimedFrame
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of
from colocam.streaming.captures import ReadFrame, Stream, StreamCapture, StreamError

DEFAULT_RETRY = 60.0
"""Seconds for which a lost stream is tried again."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds; each pause is twice the one before
_LEAST_STEP = 0.001  # seconds from a frame to the next one, where time stamps do not increase


class Connection:
    """Iterates over the frames of a stream, once.

    A stream that gave frames and is lost is opened again after pauses of 1, 2, 4, … 30 s. A live
    stream that ends is lost; any other one ends. Where one that is not live is lost, the frames
    that were read before are skipped when it is read again from its beginning.

    Args:
        stream: the stream.
        retry: seconds after the loss of the stream for which it is tried again; 0: not at all.
        report: receives a line when the stream is lost, and when it is there again.
        first_pause: seconds.

    Attributes:
        live: of the open stream.
        received: number of frames so far; the next frame has this number.

    Raises:
        UserError: while iterating: the stream cannot be opened or has no frame, or it is lost and
            does not come back.
    """

    def __init__(
        self,
        stream: Stream,
        retry: float,
        report: Callable[[str], None],
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        self.live, self.received = False, 0
        self._stream, self._retry, self._report = stream, retry, report
        self._first_pause = first_pause
        self._closed = threading.Event()
        self._failures = 0  # since the last frame
        self._lost_at = self._began = 0.0
        self._seconds = -_LEAST_STEP  # of the last frame

    def __iter__(self) -> Iterator[TimedFrame]:
        while not self._closed.is_set():
            try:
                with closing(self._stream.open()) as capture:
                    if self.live and not capture.live:
                        return  # a broadcast that is over, and now a recording
                    self.live = capture.live
                    yield from self._frames(capture)
                if not self.live:
                    if not self.received:
                        raise UserError(f"{self._stream.name}: ends without a frame")
                    return
                raise StreamError("it ended")
            except StreamError as error:
                self._pause(str(error))

    def close(self) -> None:
        """Ends the iteration, in whichever thread it is, at its next frame or pause."""
        self._closed.set()

    def _frames(self, capture: StreamCapture) -> Iterator[TimedFrame]:
        known = 0 if self.live else self.received
        while not self._closed.is_set() and (frame := capture.read()) is not None:
            if known:
                known -= 1
                continue
            if self._failures:
                seconds = time.monotonic() - self._lost_at
                self._report(f"{self._stream.name}: is there again, after {seconds:.0f} s")
                self._failures = 0
            yield self._timed(frame)

    def _timed(self, frame: ReadFrame) -> TimedFrame:
        if not self.received:
            self._began = frame.seconds
        self._seconds = max(frame.seconds - self._began, self._seconds + _LEAST_STEP)
        self.received += 1
        return TimedFrame(self.received - 1, self._seconds, frame.image)

    def _pause(self, reason: str) -> None:
        """Waits before the stream is opened again.

        Raises:
            UserError: it gave no frame yet, or the time for it is over.
        """
        name, now = self._stream.name, time.monotonic()
        if not self.received:
            raise UserError(f"{name}: cannot be read ({reason})")
        if not self._failures:
            self._lost_at = now
        lost = f"{name}: lost after {count_of(self.received, 'frame')} ({reason})"
        left = self._lost_at + self._retry - now
        if left <= 0:
            after = f"; not there again within {self._retry:g} s (--retry)" if self._retry else ""
            raise UserError(lost + after)
        if not self._failures:
            self._report(f"{lost}; trying again")
        pause = min(self._first_pause * 2 ** min(self._failures, 20), _LONGEST_PAUSE, left)
        self._failures += 1
        self._closed.wait(pause)
