"""Raw frames on standard input: the pixels of one frame after the other, as FFmpeg writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import RawIOBase
from typing import Literal

import cv2
import numpy as np

from colocam.runtime.errors import UserError
from colocam.streaming.captures import ReadFrame

PixelFormat = Literal["rgb24", "bgr24"]
"""Order of the three bytes of a pixel, with FFmpeg's names."""

DEFAULT_RATE = 25.0
"""Frames per second."""

_LARGEST_SIDE = 16_384  # pixels
_CHANNELS = 3


def parse_size(text: str) -> tuple[int, int]:
    """Parses a size as FFmpeg writes it, such as "640x360".

    Returns:
        (width, height), pixels.

    Raises:
        ValueError: it is no size, or a side is not 1 … 16384 pixels.
    """
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if match is None:
        raise ValueError("must be WIDTHxHEIGHT, such as 640x360")
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise ValueError(f"sides must be 1 to {_LARGEST_SIDE} pixels")
    return width, height


def standard_input() -> RawIOBase:
    """Opens standard input without a buffer.

    A thread that waits for a buffered one holds its lock when the process ends.

    Raises:
        UserError: there is none, or it is a terminal.
    """
    try:
        if os.isatty(0):
            raise UserError("-: standard input is a terminal; pipe raw frames into it")
        os.set_blocking(0, True)
        return open(0, "rb", buffering=0, closefd=False)
    except OSError as error:
        raise UserError(f"-: standard input cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class RawFrames:
    """`Stream` of raw frames.

    Attributes:
        size: (width, height), pixels.
        pixel_format: of the frames.
        rate: frames per second, for their times.
        open_file: opens the file that they are read from.
    """

    size: tuple[int, int]
    pixel_format: PixelFormat = "rgb24"
    rate: float = DEFAULT_RATE
    open_file: Callable[[], RawIOBase] = standard_input

    @property
    def video(self) -> str:
        """See `Stream.video`."""
        return "-"

    @property
    def name(self) -> str:
        """See `Stream.name`."""
        return "standard input"

    @property
    def file_name(self) -> str:
        """See `Stream.file_name`."""
        return "stdin"

    def open(self) -> RawCapture:
        """See `Stream.open`."""
        return RawCapture(self)


class RawCapture:
    """`StreamCapture` of raw frames.

    Args:
        stream: the stream.

    Raises:
        UserError: it cannot be opened.
    """

    live = False

    def __init__(self, stream: RawFrames) -> None:
        self._stream, self._file, self._count = stream, stream.open_file(), 0

    def read(self) -> ReadFrame | None:
        """See `StreamCapture.read`."""
        width, height = self._stream.size
        image = np.empty((height, width, _CHANNELS), np.uint8)
        done = self._fill(image.data.cast("B"))
        if done == 0:
            return None
        if done < image.nbytes:
            raise UserError(
                f"-: standard input ends within frame {self._count}, after {done} of "
                f"{image.nbytes} bytes; are --size {width}x{height} and --pixel-format "
                f"{self._stream.pixel_format} those of the frames?"
            )
        if self._stream.pixel_format == "bgr24":
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        self._count += 1
        return ReadFrame(image, (self._count - 1) / self._stream.rate)

    def close(self) -> None:
        """See `StreamCapture.close`."""
        with suppress(OSError):
            self._file.close()

    def _fill(self, view: memoryview) -> int:
        """Reads until a buffer is full or the input ends; returns the number of bytes."""
        done = 0
        try:
            while done < len(view) and (count := self._file.readinto(view[done:])):
                done += count
        except OSError as error:
            raise UserError(f"-: standard input cannot be read ({error.strerror})") from error
        return done
