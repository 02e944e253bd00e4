"""Frames with their times, so that a video can be written at the pace at which it was filmed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from colocam.data.decoding.video_file import ImageFrames, VideoFrames, open_capture, retrieve

FOLDER_RATE = 25.0
"""Frames a second of a folder of frames, and of a file that does not tell."""

_ROUNDING = 0.0011  # seconds: several containers keep whole milliseconds


@dataclass(frozen=True)
class TimedFrame:
    """One frame of a video.

    Attributes:
        index: its number, from 0.
        seconds: from the first frame to this one, always more than for the frame before.
        image: (H, W, 3) uint8 RGB, None where it cannot be decoded.
    """

    index: int
    seconds: float
    image: np.ndarray | None


def mean_rate(source: ImageFrames | VideoFrames) -> float:
    """Frames a second, their mean where it varies."""
    if isinstance(source, ImageFrames):
        return FOLDER_RATE
    with open_capture(source.path) as capture:
        told = capture.get(cv2.CAP_PROP_FPS)
        measured = _measured_rate(source, capture)
    if measured is not None and abs(told / measured - 1) > 0.02:  # some containers tell the highest
        return measured
    return told if 0 < told < 1000 else FOLDER_RATE


def _measured_rate(source: VideoFrames, capture: cv2.VideoCapture) -> float | None:
    """The mean from the first frame to the last landmark; without one, to the last frame."""
    if source.landmarks:
        last, milliseconds = source.landmarks[-1].index, source.landmarks[-1].time
    else:
        last, milliseconds = -1, 0.0
        while capture.grab():
            last, milliseconds = last + 1, capture.get(cv2.CAP_PROP_POS_MSEC)
    rate = 1000 * last / milliseconds if milliseconds > 0 else 0
    return rate if 0 < rate < 1000 else None


def timed_frames(source: ImageFrames | VideoFrames) -> Iterator[TimedFrame]:
    """All frames in order, in one pass: of a file by its time stamps, of a folder by the rate."""
    step = 1 / mean_rate(source)
    begin, seconds, index = None, -step, -1
    for index, (stamp, image) in enumerate(_stamped(source)):
        begin = stamp if begin is None else begin
        now = stamp - begin
        if abs(now - index * step) < _ROUNDING:
            now = index * step
        seconds = now if now > seconds else seconds + step  # some containers have no stamps
        yield TimedFrame(index, seconds, image)
    for missing in range(index + 1, len(source)):
        yield TimedFrame(missing, seconds + step * (missing - index), None)


def first_size(source: ImageFrames | VideoFrames) -> tuple[int, int]:
    """(width, height) of the first frame that can be decoded."""
    if isinstance(source, VideoFrames):
        return source.size
    image = next(image for image in source if image is not None)
    return image.shape[1], image.shape[0]


def _stamped(source: ImageFrames | VideoFrames) -> Iterator[tuple[float, np.ndarray | None]]:
    """Times in seconds as the file has them, and the frames, as far as the file goes."""
    if isinstance(source, ImageFrames):
        for index, image in enumerate(source):
            yield index / FOLDER_RATE, image
        return
    with open_capture(source.path) as capture:
        for _ in range(len(source)):
            if not capture.grab():
                return
            yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, retrieve(capture)
