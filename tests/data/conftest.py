"""Fixtures: small videos and folders of frames in which brightness encodes the frame number."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

STEP = 8  # grey levels between consecutive frames, far above compression errors


def _picture(number: int, size: tuple[int, int]) -> np.ndarray:
    picture = np.full((size[1], size[0], 3), STEP * number, np.uint8)
    picture[: size[1] // 2, : size[0] // 2] += 16  # something for the codec to encode
    return picture


def _make_video(path: Path, num_frames: int = 12, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, 10, size)
    assert writer.isOpened()
    for number in range(num_frames):
        writer.write(_picture(number, size))
    writer.release()
    return path


def _make_frames(folder: Path, num_frames: int = 12, size: tuple[int, int] = (64, 48)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_frames):
        _, data = cv2.imencode(".jpg", _picture(number, size))
        data.tofile(folder / f"{number:04d}.jpg")
    return folder


def _numbers(frames: Sequence[np.ndarray | None]) -> list[int | None]:
    return [None if frame is None else round(frame[-8:, -8:].mean() / STEP) for frame in frames]


@pytest.fixture
def make_video() -> Callable[..., Path]:
    """Function that writes a video file of a given number of frames."""
    return _make_video


@pytest.fixture
def make_frames() -> Callable[..., Path]:
    """Function that writes a folder 0000.jpg, 0001.jpg, … of a given number of frames."""
    return _make_frames


@pytest.fixture
def numbers() -> Callable[..., list[int | None]]:
    """Function that returns the numbers of frames of such a video; None for a missing frame."""
    return _numbers
