"""Camera: a camera of this machine, by its number, through OpenCV."""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np

from colocam.data.decoding.images import quiet_opencv
from colocam.streaming.captures import ReadFrame, StreamError


@dataclass(frozen=True)
class Camera:
    """`Stream` of a camera.

    Attributes:
        number: of the camera, from 0, as OpenCV counts them.
    """

    number: int

    @property
    def video(self) -> str:
        """See `Stream.video`."""
        return str(self.number)

    @property
    def name(self) -> str:
        """See `Stream.name`."""
        return f"camera {self.number}"

    @property
    def file_name(self) -> str:
        """See `Stream.file_name`."""
        return f"camera-{self.number}"

    def open(self) -> CameraCapture:
        """See `Stream.open`."""
        return CameraCapture(self.number)


class CameraCapture:
    """`StreamCapture` of a camera.

    Args:
        number: of the camera.

    Raises:
        StreamError: it cannot be opened.
    """

    live = True

    def __init__(self, number: int) -> None:
        try:
            with quiet_opencv():
                self._video = cv2.VideoCapture(number)
            opened = self._video.isOpened()
        except cv2.error:  # a number that is no C int
            opened = False
        if not opened:
            raise StreamError("no such camera, it is in use, or there is no permission")

    def read(self) -> ReadFrame:
        """See `StreamCapture.read`."""
        decoded, image = self._video.read()
        if not decoded:
            raise StreamError("it gives no frame any more")
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        return ReadFrame(rgb, time.monotonic())

    def close(self) -> None:
        """See `StreamCapture.close`."""
        self._video.release()
