"""OpenCV captures: opening a video file without log output, retrieving RGB frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def capture_options() -> str:
    """Returns FFmpeg's options for opening a video file: the user's, or the defaults."""
    # By default FFmpeg returns a truncated last frame as if it were complete.
    return os.environ.get(_OPTIONS, "fflags;discardcorrupt")


@contextmanager
def open_capture(path: str) -> Iterator[cv2.VideoCapture]:
    """Opens a video file; log messages of OpenCV and FFmpeg are suppressed.

    Args:
        path: path of the file.

    Yields:
        The capture, not opened if OpenCV cannot read the file. It is released at the end.
    """
    # Environment variables set by the user take precedence. FFmpeg's level is read only once.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ[_OPTIONS] = capture_options()
    # With CAP_ANY, OpenCV may read "clip01.mp4" as the pattern of a numbered image series.
    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
    with quiet_opencv():
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
    try:
        yield capture
    finally:
        capture.release()


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Suppresses OpenCV's log messages."""
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, OpenCV 5
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)


def retrieve(capture: cv2.VideoCapture) -> np.ndarray | None:
    """Returns the last grabbed frame, (H, W, 3) uint8 RGB; None if it cannot be decoded."""
    decoded, image = capture.retrieve()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if decoded else None
