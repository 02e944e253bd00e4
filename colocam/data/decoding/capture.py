"""Capture: an opened video file that is decoded frame by frame, by FFmpeg in PyAV."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from typing import Any, Literal, TypeAlias

import av
import cv2
import numpy as np
from av.codec.hwaccel import HWAccel
from av.error import ExitError, FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from colocam.data.decoding.resizing import resized

Decoder: TypeAlias = Literal["cpu", "gpu"]
"""What decodes a video file: the CPU, or the video decoder of an NVIDIA GPU."""

# Layouts of decoders on GPUs, and those of FFmpeg's own: FFmpeg converts them differently to RGB.
_PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le"}
_MOST_THREADS = 16  # of a decoder; FFmpeg advises against more
_FIRST_PACKETS = 64  # by then a decoder has given the first frame of a valid file


def open_container(path: str, threads: int | None = None, **options: Any) -> tuple[Any, Any]:
    """Opens a video file or stream.

    Args:
        path: path of the file, or address.
        threads: number of threads of the decoder; None: OpenCV's number, at most 16.
        options: of `av.open`.

    Returns:
        The container and its first video stream that is no cover picture.

    Raises:
        FFmpegError: the file cannot be opened.
        IndexError: it contains no video of a codec that FFmpeg knows.
    """
    container = av.open(path, metadata_errors="replace", **options)
    try:
        videos = [stream for stream in container.streams.video if _is_video(stream)]
        stream = videos[0]
        stream.thread_type = "AUTO"  # frames or slices
        most = max(1, min(cv2.getNumThreads(), _MOST_THREADS))
        stream.codec_context.thread_count = most if threads is None else threads
    except BaseException:
        container.close()
        raise
    return container, stream


def _is_video(stream: Any) -> bool:
    return stream.codec_context is not None and not stream.disposition & Disposition.attached_pic


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


def to_rgb(
    frame: Any, size: tuple[int, int] | None = None, reformatter: VideoReformatter | None = None
) -> np.ndarray | None:
    """Converts a frame of PyAV to (H, W, 3) uint8 RGB; the stored rotation is applied.

    Args:
        frame: the frame.
        size: (width, height) of the image; None: that of the frame.
        reformatter: which is faster from the second frame on; None: a new one.

    Returns:
        The image; None if the decoder reports damage or the colors cannot be converted.
    """
    if frame.is_corrupt:
        return None
    turns, rest = divmod(round(frame.rotation), 90)  # counterclockwise
    turns = turns if rest == 0 else 0
    width, height = _turned(size, turns) if size else (frame.width, frame.height)
    reformatter = reformatter or VideoReformatter()
    planar = _PLANAR.get(frame.format.name)
    try:  # With several threads, the first conversion sometimes has other rows.
        given = frame if planar is None else frame.reformat(format=planar, threads=1)
        image = reformatter.reformat(given, width, height, "rgb24", threads=1).to_ndarray()
    except (FFmpegError, ValueError):
        return None
    return np.ascontiguousarray(np.rot90(image, turns))


def _turned(size: tuple[int, int], turns: int) -> tuple[int, int]:
    """(width, height) of an image after a number of quarter turns."""
    return (size[1], size[0]) if turns % 2 else size


class Capture:
    """An opened video file; without frames if it cannot be read.

    Packets that are incomplete or cannot be decoded are skipped. All images have one size.

    Args:
        path: path of the file.
        threads: number of threads of the decoder; None: OpenCV's number, at most 16.
        decoder: "gpu" leaves codecs that the GPU does not decode to the CPU.
        size: (width, height) of the images; None: that of the first one that is retrieved.

    Attributes:
        damaged: whether a packet was skipped, or a frame is reported as damaged, so far.
        repeats: whether frames behind damage are the same in every pass: with several threads they
            may depend on their timing.
    """

    def __init__(
        self,
        path: str,
        threads: int | None = None,
        decoder: Decoder = "cpu",
        size: tuple[int, int] | None = None,
    ) -> None:
        self.damaged = False
        self.repeats = threads == 1
        self._container: Any = None
        self._frame: Any = None
        self._size = size
        self._frames: Iterator[Any] = iter(())
        self._start, self._time_base = 0, Fraction(0)
        self._reformatter = VideoReformatter()
        try:
            self._container, self._stream = open_container(path, threads, **_options(decoder))
        except (FFmpegError, IndexError):
            return
        self._start, self._time_base = self._stream.start_time or 0, self._stream.time_base
        self._has_only_dts = self._container.format.name == "avi"
        self._frames = self._decode_on()

    @property
    def reported_frames(self) -> float:
        """Number of frames that the container reports; may be wrong or not positive."""
        if self._container is None:
            return 0.0
        return self._stream.frames or round(duration_of(self._container, self._stream) * self.rate)

    @property
    def duration(self) -> float:
        """Duration that the container reports, without what its edit lists remove, seconds.

        Infinite if it is unknown.
        """
        if self._container is None:
            return math.inf
        return duration_of(self._container, self._stream) or math.inf

    @property
    def rate(self) -> float:
        """Frames per second that the container reports; 0 if unknown."""
        if self._container is None:
            return 0.0
        return float(self._stream.guessed_rate or 0)

    @property
    def time(self) -> float:
        """Time stamp of the last grabbed frame, ms from the start of the stream; 0 if unknown."""
        return self.time_of(self.stamp)

    @property
    def stamp(self) -> int | None:
        """Time stamp of the last grabbed frame, in units of the stream; None if it has none."""
        stamp: int | None = self._frame.dts if self._has_only_dts else self._frame.pts
        return stamp

    def time_of(self, stamp: int | None) -> float:
        """Returns the time of a time stamp of the stream, ms from its start; 0 for None."""
        if stamp is None:
            return 0.0
        return float((stamp - self._start) * self._time_base * 1000)

    def grab(self) -> bool:
        """Decodes the next frame; returns False at the end."""
        self._frame = next(self._frames, None)
        if self._frame is None:
            return False
        self.damaged |= self._frame.is_corrupt
        return True

    def retrieve(self, side: int | None = None) -> np.ndarray | None:
        """Returns the last grabbed frame, (H, W, 3) uint8 RGB; None if it cannot be decoded.

        Args:
            side: to which the frame is resized, see `resized`; None: its own size.
        """
        image = to_rgb(self._frame, self._size, self._reformatter)
        if self._size is None and image is not None:
            self._size = image.shape[1], image.shape[0]
        return image if side is None or image is None else resized(image, side)

    def checksum(self) -> int | None:
        """Returns the CRC-32 of the last grabbed frame; None if it cannot be decoded."""
        image = self.retrieve()
        return None if image is None else zlib.crc32(image.data)

    def seek_before(self, time: float, frames: int) -> bool:
        """Moves to about `frames` frames before a time stamp, ms; returns whether it did."""
        seconds = time / 1000 - (frames / self.rate if self.rate else 0)
        if self._container is None or seconds < 0:
            return False
        offset = self._start + round(seconds / self._time_base)
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
        with suppress(FFmpegError):  # the file ends early
            for packet in self._container.demux(self._stream):
                # FFmpeg's option to skip incomplete packets crashes some of its versions.
                if packet.is_corrupt:
                    self.damaged = True
                    continue
                try:
                    yield from packet.decode()
                except FFmpegError:
                    self.damaged = True
        with suppress(FFmpegError):  # EOFError where the last packet was the empty one of `demux`
            yield from self._stream.decode(None)


def gpu_error(path: str) -> str | None:
    """Opens a video file with the decoder of a GPU.

    Args:
        path: of a file that the CPU decodes.

    Returns:
        Why that is not possible; None if it is.
    """
    try:
        container, _ = open_container(path, 1, **_options("gpu"))
    except (FFmpegError, NotImplementedError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    container.close()
    return None


def gpu_decodes(path: str) -> bool:
    """Returns whether the decoder of the GPU, which there is, decodes the first frame of a file.

    It does not know every codec, and of those that it knows not every number of bits or size.
    """
    container, stream = open_container(path, **_options("gpu"))
    with container:
        if not stream.codec_context.is_hwaccel:
            return False
        try:
            for packet in islice(container.demux(stream), _FIRST_PACKETS):
                for frame in packet.decode():
                    return to_rgb(frame) is not None
        except FFmpegError:
            pass
    return False


def _options(decoder: Decoder) -> dict[str, Any]:
    """Options of `av.open`."""
    return {"hwaccel": HWAccel("cuda")} if decoder == "gpu" else {}
