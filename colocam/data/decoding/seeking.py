"""Seeking in a video file, with verification of the frame that is reached.

OpenCV's seeking is not frame-accurate in some containers. Probing a file therefore stores seek
points: frames identified by their time stamp and a checksum of their pixels. `seek` sets the
position to some frames before a seek point, grabs frames up to its time stamp, and succeeds only
if the checksum is the same.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2

SEEK_POINT_INTERVAL = 100
"""Number of frames between two seek points of a video file."""

_OFFSETS = (1, 50, 400)  # frames before the seek point; the next is tried if one goes past it


@dataclass(frozen=True)
class SeekPoint:
    """Position in a video file.

    Attributes:
        index: number of the frame.
        time: time stamp of the frame, ms.
        checksum: CRC-32 of its pixels as OpenCV decodes them.
    """

    index: int
    time: float
    checksum: int


def make_seek_point(capture: cv2.VideoCapture, index: int) -> SeekPoint | None:
    """Returns a seek point of the last grabbed frame; None if it has no time stamp or no picture.

    Args:
        capture: an opened video.
        index: number of the last grabbed frame.
    """
    time = capture.get(cv2.CAP_PROP_POS_MSEC)
    checksum = _checksum(capture) if time > 0 else None
    return None if checksum is None else SeekPoint(index, time, checksum)


def seek(capture: cv2.VideoCapture, point: SeekPoint) -> bool:
    """Moves to a seek point: the next frame that is grabbed is the one after it.

    Args:
        capture: an opened video.
        point: seek point of the same video.

    Returns:
        Whether the seek point was reached; if not, the position of `capture` is undefined.
    """
    number = round(point.time * capture.get(cv2.CAP_PROP_FPS) / 1000)
    for offset in _OFFSETS:
        # The number is computed from the mean rate: for a variable frame rate it is an estimate.
        if number < offset or not capture.set(cv2.CAP_PROP_POS_FRAMES, number - offset):
            return False
        while capture.grab():
            time = capture.get(cv2.CAP_PROP_POS_MSEC)
            if time == point.time:
                return _checksum(capture) == point.checksum
            if time > point.time:
                break
    return False


def _checksum(capture: cv2.VideoCapture) -> int | None:
    """Returns the CRC-32 of the last grabbed frame; None if it cannot be decoded."""
    decoded, image = capture.retrieve()
    return zlib.crc32(image.data) if decoded and image is not None else None
