"""Records of a data set: shots for training, frames with boxes for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the original frame, corners included."""


class FrameSource(Protocol):
    """Frames of one video, shot or image, decoded on demand; picklable."""

    @property
    def name(self) -> str:
        """Name for messages: the path relative to the data folder."""

    def __len__(self) -> int:
        """Number of frames, in decoding order."""

    def read(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """Decodes the frames of the given indices.

        Args:
            indices: frame numbers 0 ... len − 1 in any order.

        Returns:
            RGB uint8 arrays (H, W, 3) in the order of `indices`; None where a frame cannot be
            decoded.

        Raises:
            IndexError: a frame number is outside 0 ... len − 1.
        """

    def __iter__(self) -> Iterator[np.ndarray | None]:
        """Decodes all frames in order, in one pass, one at a time; items are those of `read`."""


@dataclass(frozen=True)
class Shot:
    """Training shot: its frames and the class tag of its video.

    Attributes:
        id: name of the shot, unique in the data set.
        label: index of the class.
        video: name of the video that contains the shot.
        frames: frames of the shot.
    """

    id: str
    label: int
    video: str
    frames: FrameSource


@dataclass(frozen=True)
class BoxedFrame:
    """Evaluation frame; a frame without boxes counts for classification only.

    Attributes:
        id: name of the frame, unique in its split.
        label: index of the class.
        video: name of the video that contains the frame.
        frames: source that the frame is decoded from.
        index: number of the frame in `frames`.
        boxes: ground truth boxes.
    """

    id: str
    label: int
    video: str
    frames: FrameSource
    index: int
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class VideoData:
    """Opened data set.

    Attributes:
        classes: class names in the order of their labels.
        train: training shots.
        val: validation frames.
        test: test frames.
        notes: lines for the user, such as counts of skipped items and how videos were split.
        new: frames of videos that are not in the stored split that the data set was opened with.
        has_split_files: whether split files name the shots and frames.
    """

    classes: tuple[str, ...]
    train: tuple[Shot, ...]
    val: tuple[BoxedFrame, ...]
    test: tuple[BoxedFrame, ...]
    notes: tuple[str, ...]
    new: tuple[BoxedFrame, ...] = ()
    has_split_files: bool = False


def clamp_box(box: Box, right: float, bottom: float) -> Box:
    """Clamps a box to 0 ... right, 0 ... bottom; the box must not be outside (`is_outside`)."""
    x0, y0, x1, y1 = box
    return (
        min(max(x0, 0.0), right),
        min(max(y0, 0.0), bottom),
        min(max(x1, 0.0), right),
        min(max(y1, 0.0), bottom),
    )


def is_outside(box: Box, right: float, bottom: float) -> bool:
    """Returns whether no pixel of a box is in 0 ... right, 0 ... bottom."""
    x0, y0, x1, y1 = box
    return x0 > right or y0 > bottom or x1 < 0 or y1 < 0
