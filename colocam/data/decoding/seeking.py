"""Seeking in a video file, with verification of the frame that is reached.

FFmpeg's seeking is not frame-accurate in some containers. Probing a file therefore stores seek
points: key frames, which their time stamp identifies, or where time stamps may be wrong any frames,
with a checksum of their pixels. `seek` sets the position to a key frame, or to some frames before
another one, grabs frames up to its time stamp, and succeeds only if the checksum is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from colocam.data.decoding.capture import Capture

SEEK_POINT_INTERVAL = 100
"""Number of frames between two seek points of a video file."""

_OFFSETS = (1, 50, 400)  # frames before a seek point; the next is tried if one goes past it


@dataclass(frozen=True)
class SeekPoint:
    """Position in a video file.

    Attributes:
        index: number of the frame.
        time: time stamp of the frame, ms.
        checksum: CRC-32 of its pixels as they are decoded; None: a key frame in a file whose time
            stamps identify its frames.
    """

    index: int
    time: float
    checksum: int | None


def make_seek_point(capture: Capture, index: int) -> SeekPoint | None:
    """Returns a seek point of the last grabbed frame; None if it has no time stamp or no picture.

    Args:
        capture: an opened video.
        index: number of the last grabbed frame.
    """
    time = capture.time
    checksum = capture.checksum() if time > 0 else None
    return None if checksum is None else SeekPoint(index, time, checksum)


def seek(capture: Capture, point: SeekPoint) -> bool:
    """Moves to a seek point: the next frame that is grabbed is the one after it.

    Args:
        capture: an opened video.
        point: seek point of the same video.

    Returns:
        Whether the seek point was reached; if not, the position of `capture` is undefined.
    """
    for offset in (0, *_OFFSETS) if point.checksum is None else _OFFSETS:
        if not capture.seek_before(point.time, offset):
            return False
        while capture.grab():
            if capture.time == point.time:
                return point.checksum is None or capture.checksum() == point.checksum
            if capture.time > point.time:
                break
    return False
