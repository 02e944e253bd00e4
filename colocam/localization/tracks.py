"""Tracks: the boxes of one object along a video, joined by their overlap from frame to frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from colocam.data.shots.detection import is_cut, signature
from colocam.evaluation.boxes import Box, iou

MIN_IOU = 0.3
"""Smallest IoU of a box with the last box of its track."""

PATIENCE = 10
"""Largest number of successive frames without a box after which a track continues."""


@dataclass
class _Track:
    number: int
    box: Box  # the last one
    missed: int = 0  # frames since


class Tracks:
    """Joins the boxes of a video to tracks, frame by frame.

    Pairs of a track and a box of the next frame are joined by decreasing IoU of the box with the
    last box of the track, down to `min_iou`, each track and each box once. A box that is left
    begins a track. A track ends after more than `patience` frames without a box, and at a cut.
    A frame's numbers depend on earlier frames only, and the number of a track is not used again.

    Frames that cannot be decoded are skipped: they count neither as frames with nor without boxes.

    Args:
        min_iou: smallest IoU, in (0, 1].
        patience: number of frames, at least 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, min_iou: float = MIN_IOU, patience: int = PATIENCE) -> None:
        if not 0 < min_iou <= 1:
            raise ValueError(f"min_iou: must be in (0, 1], got {min_iou}")
        if patience < 0:
            raise ValueError(f"patience: must be at least 0, got {patience}")
        self.min_iou, self.patience = min_iou, patience
        self._tracks: list[_Track] = []
        self._begun = 0
        self._signature = np.empty(0)

    def next(self, boxes: Sequence[Box], frame: NDArray[np.uint8]) -> tuple[int, ...]:
        """Adds the next frame and returns the number of the track of each box, from 1.

        Args:
            boxes: of the frame, in its pixels.
            frame: (H, W, 3) uint8 RGB.
        """
        before, self._signature = self._signature, signature(frame)
        if before.size and is_cut(before, self._signature):
            self._tracks = []
        joined = self._join(boxes)
        for track in self._tracks:
            track.missed += 1
        for place, box in enumerate(boxes):
            if place not in joined:
                self._begun += 1
                joined[place] = _Track(self._begun, box)
                self._tracks.append(joined[place])
            joined[place].box, joined[place].missed = box, 0
        self._tracks = [track for track in self._tracks if track.missed <= self.patience]
        return tuple(joined[place].number for place in range(len(boxes)))

    def _join(self, boxes: Sequence[Box]) -> dict[int, _Track]:
        """Track of each box that continues one, by its place among the boxes."""
        joined: dict[int, _Track] = {}
        if not boxes or not self._tracks:
            return joined
        shared = iou(boxes, [track.box for track in self._tracks])  # (boxes, tracks)
        while shared.max() >= self.min_iou:
            place, number = np.unravel_index(shared.argmax(), shared.shape)
            joined[int(place)] = self._tracks[int(number)]
            shared[place], shared[:, number] = -1, -1
        return joined
