"""What a data set is made of: shots to train on, frames with boxes to evaluate on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the original frame, corners included."""


class FrameSource(Protocol):
    """The frames of one video, shot or image, decoded when asked for; can be pickled."""

    @property
    def name(self) -> str:
        """What a user recognizes: the path relative to the data folder."""

    def __len__(self) -> int:
        """Number of frames, in decoding order."""

    def read(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """Decode some frames.

        Args:
            indices: frame numbers 0 ... len − 1 in any order.

        Returns:
            RGB uint8 arrays (H, W, 3) in the order of `indices`; None where a frame cannot be
            decoded.

        Raises:
            IndexError: for a frame number outside 0 ... len − 1.
        """

    def __iter__(self) -> Iterator[np.ndarray | None]:
        """Every frame in order, as `read` gives them, in one pass and one at a time."""


@dataclass(frozen=True)
class Shot:
    """A training shot: its frames, and the class tag of its video."""

    id: str
    label: int
    video: str
    frames: FrameSource


@dataclass(frozen=True)
class BoxedFrame:
    """A frame to evaluate on; without boxes it counts for classification only."""

    id: str
    label: int
    video: str
    frames: FrameSource
    index: int
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class VideoData:
    """A data set as opened; `notes` are lines for the user: what was left out, how it was split."""

    classes: tuple[str, ...]
    train: tuple[Shot, ...]
    val: tuple[BoxedFrame, ...]
    test: tuple[BoxedFrame, ...]
    notes: tuple[str, ...]


def clamp_box(box: Box, right: float, bottom: float) -> Box:
    """The box cut to 0 ... right, 0 ... bottom, which it must not lie outside of."""
    x0, y0, x1, y1 = box
    return (
        min(max(x0, 0.0), right),
        min(max(y0, 0.0), bottom),
        min(max(x1, 0.0), right),
        min(max(y1, 0.0), bottom),
    )


def lies_outside(box: Box, right: float, bottom: float) -> bool:
    """Whether no pixel of the box lies in 0 ... right, 0 ... bottom."""
    x0, y0, x1, y1 = box
    return x0 > right or y0 > bottom or x1 < 0 or y1 < 0
