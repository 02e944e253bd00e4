"""Video writer: mp4 files that common players and browsers support.

The codec is H.264 through PyAV, which stores the time of every frame. Where PyAV has no encoder for
H.264, it is VP9 through OpenCV: many times slower, and at a constant frame rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from av.error import FFmpegError

from colocam.runtime.errors import WriteError
from colocam.runtime.files import atomic_file


class Mp4(Protocol):
    """A video that is being written."""

    def write(self, frame: np.ndarray, seconds: float) -> None:
        """Appends a frame.

        Args:
            frame: (H, W, 3) uint8 RGB. A frame of another size than the video is scaled to fit,
                with black bars. Codecs need even sides: if a side of the video is odd, its last
                row or column is repeated.
            seconds: presentation time, later than that of the frame before.
        """

    def close(self) -> None:
        """Flushes the encoder and closes the file."""


def has_h264() -> bool:
    """Whether PyAV has an H.264 encoder."""
    return "libx264" in av.codecs_available


@contextmanager
def mp4_file(path: Path, size: tuple[int, int], rate: float) -> Iterator[Mp4]:
    """Opens an mp4 file for writing; the write is atomic.

    Args:
        path: of the video; missing folders are created.
        size: (width, height) of its frames.
        rate: frames per second, the mean of a variable rate.

    Raises:
        WriteError: the file cannot be written.
    """
    with atomic_file(path) as unfinished:
        try:
            video: Mp4 = (_H264 if has_h264() else _VP9)(unfinished, size, rate)
            try:
                yield video
            finally:
                video.close()
        except (FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WriteError(f"{path}: cannot be written ({reason})") from error


class _H264:
    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        # 29.97… is 30000/1001; the lowest rate of such a fraction is one frame in 17 minutes.
        exact = max(Fraction(rate).limit_denominator(1001), Fraction(1, 1001))
        # Frames at the mean rate are at integer ticks, all others within 0.05 ms of one.
        self.ticks = exact.numerator * math.ceil(10_000 / exact.numerator)  # per second
        self.size, self.last = size, -1
        self.container = av.open(
            str(path), "w", format="mp4", options={"movflags": "faststart"}
        )  # index first: playback can start before the download ends
        options = {"crf": "20", "preset": "veryfast"}
        self.stream = self.container.add_stream("libx264", rate=exact, options=options)
        self.stream.width, self.stream.height = _even(size)
        self.stream.pix_fmt = "yuv420p"  # the one format that all players support
        context = self.stream.codec_context
        context.time_base = Fraction(1, self.ticks)
        context.thread_count = cv2.getNumThreads()  # the limit that holds for OpenCV too
        context.color_range = 1  # limited
        context.colorspace = 6  # SMPTE 170M: what the conversion from RGB uses
        context.color_primaries = context.color_trc = 1  # BT.709

    def write(self, frame: np.ndarray, seconds: float) -> None:
        picture = av.VideoFrame.from_ndarray(_fitted(frame, self.size), format="rgb24")
        self.last = max(round(seconds * self.ticks), self.last + 1)
        picture.pts, picture.time_base = self.last, Fraction(1, self.ticks)
        self.container.mux(self.stream.encode(picture))

    def close(self) -> None:
        try:
            if self.last >= 0:
                self.container.mux(self.stream.encode(None))
        finally:
            self.container.close()


class _VP9:
    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        self.path, self.size, self.frames = path, size, 0
        codec = cv2.VideoWriter.fourcc(*"vp09")
        self.writer = cv2.VideoWriter(str(path), codec, rate, _even(size))
        if not self.writer.isOpened():
            raise OSError("no encoder: neither of H.264 in PyAV nor of VP9 in OpenCV")

    def write(self, frame: np.ndarray, seconds: float) -> None:
        self.writer.write(cv2.cvtColor(_fitted(frame, self.size), cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        self.writer.release()
        written = cv2.VideoCapture(str(self.path))  # the writer does not report a full disk
        frames = written.get(cv2.CAP_PROP_FRAME_COUNT)
        written.release()
        if frames != self.frames:
            raise OSError("incomplete; is the disk full?")


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def _fitted(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The frame scaled and centered in the size of the video, padded to even sides."""
    (height, width), (wanted_width, wanted_height) = frame.shape[:2], size
    if (width, height) != size:
        scale = min(wanted_width / width, wanted_height / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (wanted_width - inner[0]) // 2, (wanted_height - inner[1]) // 2
        right, bottom = wanted_width - inner[0] - left, wanted_height - inner[1] - top
        frame = cv2.resize(frame, inner, interpolation=cv2.INTER_AREA)
        frame = cv2.copyMakeBorder(frame, top, bottom, left, right, cv2.BORDER_CONSTANT)
    odd_rows, odd_columns = wanted_height % 2, wanted_width % 2
    if odd_rows or odd_columns:
        return cv2.copyMakeBorder(frame, 0, odd_rows, 0, odd_columns, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(frame)
