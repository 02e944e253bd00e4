"""Captures of OpenCV: opening a video file without log output, retrieving RGB frames."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from colocam.data.decoding.resizing import resized

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def capture_options() -> str:
    """Returns FFmpeg's options for opening a video file: the user's, or the defaults."""
    # By default FFmpeg returns a truncated last frame as if it were complete.
    return os.environ.get(_OPTIONS, "fflags;discardcorrupt")


class OpenCVCapture:
    """`Capture` of OpenCV; without frames if OpenCV cannot read the file.

    Args:
        path: path of the file.
    """

    def __init__(self, path: str) -> None:
        # Environment variables set by the user take precedence. FFmpeg's level is read only once.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        os.environ[_OPTIONS] = capture_options()
        # With CAP_ANY, OpenCV may read "clip01.mp4" as the pattern of a numbered image series.
        has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
        with quiet_opencv():
            self._video = cv2.VideoCapture(path, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
        self._image: np.ndarray | None = None

    @property
    def codec(self) -> str:
        """Four-character code of the codec, in lower case."""
        code = int(self._video.get(cv2.CAP_PROP_FOURCC))
        return code.to_bytes(4, "little", signed=code < 0).decode("latin-1").lower()

    @property
    def extradata(self) -> bytes:
        """Parameter sets of the stream; empty if there are none."""
        index = int(self._video.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX))
        found, data = self._video.retrieve(flag=index) if index > 0 else (False, None)
        return data.tobytes() if found and data is not None else b""

    @property
    def reported_frames(self) -> float:
        """See `Capture.reported_frames`."""
        return self._video.get(cv2.CAP_PROP_FRAME_COUNT)

    @property
    def rate(self) -> float:
        """See `Capture.rate`."""
        return self._video.get(cv2.CAP_PROP_FPS)

    @property
    def time(self) -> float:
        """See `Capture.time`."""
        return self._video.get(cv2.CAP_PROP_POS_MSEC)

    def grab(self) -> bool:
        """See `Capture.grab`."""
        return self._video.grab()

    def retrieve(self, side: int | None = None) -> np.ndarray | None:
        """See `Capture.retrieve`."""
        image = self._retrieve_bgr()
        if image is None:
            return None
        return cv2.cvtColor(image if side is None else resized(image, side), cv2.COLOR_BGR2RGB)

    def checksum(self) -> int | None:
        """See `Capture.checksum`; of the BGR image."""
        image = self._retrieve_bgr()
        return None if image is None else zlib.crc32(image.data)

    def _retrieve_bgr(self) -> np.ndarray | None:
        """Returns the last grabbed frame, valid until the next call."""
        # New memory for every frame would take longer than the conversion to BGR.
        decoded, self._image = self._video.retrieve(self._image)
        return self._image if decoded else None

    def seek_before(self, time: float, frames: int) -> bool:
        """See `Capture.seek_before`."""
        # The number is computed from the mean rate: for a variable frame rate it is an estimate.
        number = round(time * self.rate / 1000) - frames
        return number >= 0 and self._video.set(cv2.CAP_PROP_POS_FRAMES, number)

    def close(self) -> None:
        """Closes the file."""
        self._video.release()


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
