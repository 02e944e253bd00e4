"""Seeking in a video file, and making sure of the frame that was reached.

Seeking alone lands on other frames in some containers. So the pass that counts a video's frames
keeps landmarks, frames known by their time and their picture; a seek goes to just before one and on
until the time is the landmark's, and counts only if the picture is the same to the last bit.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2

LANDMARK_EVERY = 100
"""Frames from one landmark of a video file to the next."""

_BACK = (1, 50, 400)  # frames before the landmark to seek to, where the one before went past it


@dataclass(frozen=True)
class Landmark:
    """A frame of a video file: its number, its time in ms, and a checksum of its picture."""

    index: int
    time: float
    checksum: int


def landmark_of(capture: cv2.VideoCapture, index: int) -> Landmark | None:
    """The frame that `capture` has just grabbed; None where it has no time or no picture.

    Args:
        capture: an opened video.
        index: number of the frame.
    """
    time = capture.get(cv2.CAP_PROP_POS_MSEC)
    decoded, image = capture.retrieve() if time > 0 else (False, None)
    return Landmark(index, time, zlib.crc32(image)) if decoded else None


def seek(capture: cv2.VideoCapture, landmark: Landmark) -> bool:
    """Goes to a landmark, so that the next frame grabbed is the one after it.

    Returns:
        Whether that succeeded; where not, `capture` is anywhere.
    """
    number = round(landmark.time * capture.get(cv2.CAP_PROP_FPS) / 1000)
    for back in _BACK:
        # The number counts from the mean rate: it is off where the rate varies.
        if number < back or not capture.set(cv2.CAP_PROP_POS_FRAMES, number - back):
            return False
        while capture.grab():
            time = capture.get(cv2.CAP_PROP_POS_MSEC)
            if time == landmark.time:
                decoded, image = capture.retrieve()
                return decoded and zlib.crc32(image) == landmark.checksum
            if time > landmark.time:
                break
    return False
