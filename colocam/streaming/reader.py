"""Reader: a thread that reads a stream, with a bounded number of frames in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from colocam.data.decoding.timestamps import TimedFrame
from colocam.streaming.connection import Connection

_POLL = 0.1  # seconds between two looks at `stopped`
_END_SECONDS = 1.0  # for which the end of the thread is awaited


class FrameReader:
    """Reads the frames of a connection in a thread, and gives them in batches.

    Frames wait until they are fetched, at most `capacity`. Of a live stream the latest wait and
    older ones are skipped, so that results are never late; any other stream waits, too. Frames
    that cannot be decoded are counted and not given.

    Args:
        connection: the frames.
        capacity: number of frames that may wait, at least 1, by the frame that comes.

    Attributes:
        skipped: number of frames that were skipped.
        undecoded: number of frames that could not be decoded.
    """

    def __init__(self, connection: Connection, capacity: Callable[[TimedFrame], int]) -> None:
        self.skipped = self.undecoded = 0
        self._connection, self._capacity = connection, capacity
        self._waiting: deque[TimedFrame] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="stream", daemon=True)

    def batches(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[list[TimedFrame]]:
        """Yields the waiting frames, in order, whenever there are any, up to the end.

        Args:
            stopped: whether to end now, as after a signal.

        Raises:
            UserError: the stream cannot be opened or is lost; after the frames before.
        """
        self._thread.start()
        while not stopped():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended, timeout=_POLL)
                batch, ended = list(self._waiting), self._ended
                self._waiting.clear()
                self._changed.notify_all()
            if batch:
                yield batch
            elif ended:
                if self._error is not None:
                    raise self._error
                return

    def close(self) -> None:
        """Ends the thread, unless it waits for a frame longer than a second."""
        self._connection.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def _read(self) -> None:
        try:
            for frame in self._connection:
                self._put(frame)
                if self._closed:
                    break
        except BaseException as error:  # raised by `batches`
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: TimedFrame) -> None:
        if frame.image is None:
            self.undecoded += 1
            return
        capacity = self._capacity(frame)
        with self._changed:
            if self._connection.live:
                while len(self._waiting) >= capacity:
                    self._waiting.popleft()
                    self.skipped += 1
            else:
                self._changed.wait_for(lambda: len(self._waiting) < capacity or self._closed)
            self._waiting.append(frame)
            self._changed.notify_all()
