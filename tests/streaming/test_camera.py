"""Cameras: frames are RGB, a missing one is an error without output of OpenCV."""

import cv2
import numpy as np
import pytest

from colocam.runtime.errors import UserError
from colocam.streaming.camera import Camera
from colocam.streaming.captures import StreamError
from colocam.streaming.connection import Connection


class Video:
    """`cv2.VideoCapture` that gives two frames, and then none."""

    def __init__(self, number):
        self.number, self.left, self.released = number, 2, False

    def isOpened(self):
        return True

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((4, 6, 3), (255, 10, 0), np.uint8)

    def release(self):
        self.released = True


def test_frames_of_a_camera_are_rgb_until_it_is_unplugged(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Video)
    capture = Camera(3).open()
    assert capture.live
    first, second = capture.read(), capture.read()
    assert tuple(first.image[0, 0]) == (0, 10, 255)
    assert second.seconds >= first.seconds
    with pytest.raises(StreamError, match="gives no frame any more"):
        capture.read()
    capture.close()
    assert capture._video.released
    assert capture._video.number == 3


@pytest.mark.parametrize("number", [99, 10**12])
def test_a_camera_that_does_not_exist_is_one_line(number, capfd):
    with pytest.raises(UserError, match=f"^camera {number}: cannot be read \\(no such camera"):
        list(Connection(Camera(number), 60, print))
    assert capfd.readouterr() == ("", "")
