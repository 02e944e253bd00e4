"""Time stamps of frames, for writing a video at the speed of the source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.video_file import VideoFrames

FOLDER_RATE = 25.0
"""Frames per second of a folder of frames, and of a file that reports no rate."""

_ROUNDING = 0.0011  # seconds: several containers store whole milliseconds


@dataclass(frozen=True)
class TimedFrame:
    """Frame of a video with its time.

    Attributes:
        index: number of the frame, from 0.
        seconds: time since the first frame; strictly increasing.
        image: (H, W, 3) uint8 RGB; None if the frame cannot be decoded.
    """

    index: int
    seconds: float
    image: np.ndarray | None


def mean_rate(source: ImageFrames | VideoFrames) -> float:
    """Returns the mean frame rate, frames per second."""
    if isinstance(source, ImageFrames):
        return FOLDER_RATE
    with source.capture() as capture:
        reported = capture.rate
    measured = _measured_rate(source)
    if measured is not None and abs(reported / measured - 1) > 0.02:
        return measured  # for a variable rate some containers report the highest
    return reported if 0 < reported < 1000 else FOLDER_RATE


def _measured_rate(source: VideoFrames) -> float | None:
    """Returns the mean rate up to the last seek point, or of all frames if there is none."""
    count, milliseconds = source.steps
    if source.seek_points:
        count, milliseconds = source.seek_points[-1].index, source.seek_points[-1].time
    rate = 1000 * count / milliseconds if milliseconds > 0 else 0
    return rate if 0 < rate < 1000 else None


def timed_frames(source: ImageFrames | VideoFrames) -> Iterator[TimedFrame]:
    """Decodes all frames in order, in one pass, with their times.

    Times of a video file are its time stamps, corrected for rounding; frames without a time stamp,
    and those of a folder, follow at the mean rate.

    Args:
        source: the video.

    Yields:
        One item per frame of `source`; frames that the file no longer provides have no image.
    """
    step = 1 / mean_rate(source)
    begin, seconds, index = None, -step, -1
    for number, stamp, image in _stamped(source):
        for missing in range(index + 1, number):
            seconds += step
            yield TimedFrame(missing, seconds, None)
        index = number
        begin = stamp if begin is None else begin
        now = stamp - begin
        if abs(now - index * step) < _ROUNDING:
            now = index * step
        seconds = now if now > seconds else seconds + step  # some containers have no time stamps
        yield TimedFrame(index, seconds, image)
    for missing in range(index + 1, len(source)):
        yield TimedFrame(missing, seconds + step * (missing - index), None)


def first_size(source: ImageFrames | VideoFrames) -> tuple[int, int]:
    """Returns the (width, height) of the first frame that can be decoded."""
    if isinstance(source, VideoFrames):
        return source.size
    image = next(image for image in source if image is not None)
    return image.shape[1], image.shape[0]


def _stamped(source: ImageFrames | VideoFrames) -> Iterator[tuple[int, float, np.ndarray | None]]:
    """Decodes frames, with their numbers and time stamps in seconds, up to the end of the file."""
    if isinstance(source, ImageFrames):
        for index, image in enumerate(source):
            yield index, index / FOLDER_RATE, image
        return
    if source.stamps:
        yield from zip(range(len(source)), source.times, source, strict=True)
        return
    with source.capture() as capture:
        for index in itertools.islice(source.grabbed(capture), len(source)):
            yield index, capture.time / 1000, capture.retrieve()
