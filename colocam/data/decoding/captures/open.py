"""Capture: an opened video file that is decoded frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias

import numpy as np

from colocam.data.decoding.captures.opencv import OpenCVCapture
from colocam.data.decoding.captures.pyav import PyAVCapture

Decoder: TypeAlias = Literal["opencv", "pyav"]
"""Library that decodes a video file."""


class Capture(Protocol):
    """An opened video file."""

    @property
    def reported_frames(self) -> float:
        """Number of frames that the container reports; may be wrong or not positive."""

    @property
    def rate(self) -> float:
        """Frames per second that the container reports; 0 if unknown."""

    @property
    def time(self) -> float:
        """Time stamp of the last grabbed frame, ms from the start of the stream; 0 if unknown."""

    def grab(self) -> bool:
        """Decodes the next frame; returns False at the end."""

    def retrieve(self) -> np.ndarray | None:
        """Returns the last grabbed frame, (H, W, 3) uint8 RGB; None if it cannot be decoded."""

    def checksum(self) -> int | None:
        """Returns the CRC-32 of the last grabbed frame; None if it cannot be decoded."""

    def seek_before(self, time: float, frames: int) -> bool:
        """Moves to about `frames` frames before a time stamp, ms; returns whether it did."""


@contextmanager
def open_capture(path: str, decoder: Decoder = "opencv") -> Iterator[Capture]:
    """Opens a video file; log messages are suppressed.

    Args:
        path: path of the file.
        decoder: library that decodes it, see `colocam.data.decoding.captures.choice`.

    Yields:
        The capture, without frames if the file cannot be opened. It is released at the end.
    """
    capture = PyAVCapture(path) if decoder == "pyav" else OpenCVCapture(path)
    try:
        yield capture
    finally:
        capture.close()
