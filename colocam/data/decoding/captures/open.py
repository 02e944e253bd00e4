"""Capture: an opened video file that is decoded frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from colocam.data.decoding.captures.opencv import OpenCVCapture
from colocam.runtime.errors import UserError

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

    def retrieve(self, side: int | None = None) -> np.ndarray | None:
        """Returns the last grabbed frame, (H, W, 3) uint8 RGB; None if it cannot be decoded.

        Args:
            side: to which the frame is resized, see `resized`; None: its own size.
        """

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
        The capture, without frames if the file cannot be opened. It is closed at the end.

    Raises:
        UserError: PyAV is needed and not installed.
    """
    capture = import_pyav(path).PyAVCapture(path) if decoder == "pyav" else OpenCVCapture(path)
    try:
        yield capture
    finally:
        capture.close()


def import_pyav(path: str) -> Any:
    """Imports `colocam.data.decoding.captures.pyav`: takes 0.1 s, and few videos need it.

    Args:
        path: path of the file that needs it.

    Raises:
        UserError: PyAV is not installed.
    """
    try:
        from colocam.data.decoding.captures import pyav
    except ImportError as error:
        raise UserError(f"{path}: decoding it needs PyAV ({error}): pip install av") from error
    return pyav


@cache
def pyav_version() -> str:
    """Returns the version of PyAV; "none" if it is not installed."""
    try:
        return version("av")
    except PackageNotFoundError:
        return "none"
