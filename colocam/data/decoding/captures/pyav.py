"""Captures of PyAV, for the files that OpenCV decodes wrongly."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import av
import numpy as np
from av.error import ExitError, FFmpegError

from colocam.data.decoding.resizing import resized


def open_container(path: str, **options: Any) -> tuple[Any, Any]:
    """Opens a video file or stream.

    Args:
        path: path of the file, or address.
        options: of `av.open`.

    Returns:
        The container and its first video stream, which is the one that OpenCV decodes.

    Raises:
        FFmpegError: the file cannot be opened.
        IndexError: it contains no video.
    """
    container = av.open(path, metadata_errors="replace", **options)
    try:
        stream = container.streams.video[0]
        # With several threads, frames after a damaged one depend on their timing. AV1 is not
        # interlaced, takes long, and has a decoder that conceals nothing.
        if stream.codec_context.name != "libdav1d":
            stream.codec_context.thread_count = 1
    except BaseException:
        container.close()
        raise
    return container, stream


def reported_duration(path: str) -> float:
    """Returns the duration that a container reports, without what its edit lists remove, seconds.

    Args:
        path: path of the file.

    Returns:
        The duration; infinite if it is unknown.
    """
    try:
        container, stream = open_container(path)
    except (FFmpegError, IndexError):
        return math.inf
    with container:
        return duration_of(container, stream) or math.inf


def duration_of(container: Any, stream: Any) -> float:
    """Returns the duration of a stream, seconds; 0 if it is unknown."""
    if stream.duration is None:
        return (container.duration or 0) / av.time_base
    ticks = stream.duration
    if container.format.name == "avi":
        ticks = max(ticks, stream.frames)  # FFmpeg shortens the duration of a truncated file
    return float(ticks * stream.time_base)


def is_timeout(error: Exception) -> bool:
    """Returns whether an error is that of a stream that did not answer in time."""
    return isinstance(error, ExitError)


def decoded(stream: Any, packets: Iterable[Any]) -> Iterator[Any]:
    """Decodes packets; those that are incomplete or cannot be decoded are skipped.

    Args:
        stream: a video stream.
        packets: packets of it, as `av.InputContainer.demux` yields them.

    Yields:
        The frames, `av.VideoFrame`.
    """
    with suppress(FFmpegError):  # the file ends early
        for packet in packets:
            # FFmpeg's option to skip incomplete packets crashes some of its versions.
            if not packet.is_corrupt:
                with suppress(FFmpegError):
                    yield from packet.decode()
    with suppress(FFmpegError):  # EOFError where the last packet was the empty one of `demux`
        yield from stream.decode(None)


def to_rgb(frame: Any, size: tuple[int, int] | None = None) -> np.ndarray | None:
    """Converts a frame of PyAV to (H, W, 3) uint8 RGB; the stored rotation is applied.

    Args:
        frame: the frame.
        size: (width, height) before rotation; None: that of the frame.

    Returns:
        The image; None if the decoder reports damage or the colors cannot be converted.
    """
    if frame.is_corrupt:
        return None
    width, height = size or (frame.width, frame.height)
    try:
        image = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    except (FFmpegError, ValueError):
        return None
    turns, rest = divmod(round(frame.rotation), 90)  # counterclockwise
    # OpenCV rotates by multiples of 90 degrees only.
    return np.ascontiguousarray(np.rot90(image, turns)) if rest == 0 else image


class PyAVCapture:
    """`Capture` of PyAV; without frames if PyAV cannot read the file.

    Packets that cannot be decoded are skipped. All frames have the size of the first one.

    Args:
        path: path of the file.
    """

    def __init__(self, path: str) -> None:
        self._container: Any = None
        self._frame: Any = None
        self._size: tuple[int, int] | None = None
        self._frames: Iterator[Any] = iter(())
        try:
            self._container, self._stream = open_container(path)
        except (FFmpegError, IndexError):
            return
        self._start = self._stream.start_time or 0
        self._has_only_dts = self._container.format.name == "avi"
        self._frames = self._decode_on()

    @property
    def reported_frames(self) -> float:
        """See `Capture.reported_frames`."""
        if self._container is None:
            return 0.0
        return self._stream.frames or round(duration_of(self._container, self._stream) * self.rate)

    @property
    def rate(self) -> float:
        """See `Capture.rate`."""
        return 0.0 if self._container is None else float(self._stream.guessed_rate or 0)

    @property
    def time(self) -> float:
        """See `Capture.time`."""
        stamp = self._frame.dts if self._has_only_dts else self._frame.pts
        if stamp is None:
            return 0.0
        return float((stamp - self._start) * self._frame.time_base * 1000)

    def grab(self) -> bool:
        """See `Capture.grab`."""
        self._frame = next(self._frames, None)
        if self._frame is not None and self._size is None:
            self._size = self._frame.width, self._frame.height
        return self._frame is not None

    def retrieve(self, side: int | None = None) -> np.ndarray | None:
        """See `Capture.retrieve`."""
        image = to_rgb(self._frame, self._size)
        return image if side is None or image is None else resized(image, side)

    def checksum(self) -> int | None:
        """See `Capture.checksum`; of the RGB image."""
        image = self.retrieve()
        return None if image is None else zlib.crc32(image.data)

    def seek_before(self, time: float, frames: int) -> bool:
        """See `Capture.seek_before`."""
        seconds = time / 1000 - (frames / self.rate if self.rate else 0)
        if self._container is None or seconds < 0:
            return False
        offset = self._start + int(seconds / self._stream.time_base)
        try:
            self._container.seek(offset, stream=self._stream)
        except FFmpegError:
            return False
        self._frames = self._decode_on()
        return True

    def close(self) -> None:
        """Closes the file."""
        self._frame, self._frames = None, iter(())
        if self._container is not None:
            self._container.close()

    def _decode_on(self) -> Iterator[Any]:
        """Decodes the frames from the current position."""
        return decoded(self._stream, self._container.demux(self._stream))
