"""Stream: something that can be opened again and again and gives frames until it ends."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class StreamError(Exception):
    """A stream cannot be opened or is lost; the message is the reason, for a line in brackets."""


class ReadFrame(NamedTuple):
    """Frame of a stream.

    Attributes:
        image: (H, W, 3) uint8 RGB; None if the frame cannot be decoded.
        seconds: time of the frame; of a live stream that of its arrival, by a steady clock.
    """

    image: NDArray[np.uint8] | None
    seconds: float


class StreamCapture(Protocol):
    """An opened stream."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace and without an end, as those of a camera.

        Others wait until they are read, and end.
        """

    def read(self) -> ReadFrame | None:
        """Waits for the next frame and returns it; None at the end.

        Raises:
            StreamError: the stream is lost.
            UserError: what it gives is not what it should give.
        """

    def close(self) -> None:
        """Closes the stream."""


class Stream(Protocol):
    """A stream that can be opened."""

    @property
    def video(self) -> str:
        """Name in records, without a password."""

    @property
    def name(self) -> str:
        """Name in messages, without a password."""

    @property
    def file_name(self) -> str:
        """Name of the file of its results, without suffix."""

    def open(self) -> StreamCapture:
        """Opens the stream.

        Raises:
            StreamError: it cannot be opened.
            UserError: it never can be.
        """
