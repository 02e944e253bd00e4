"""Temporal consistency of boxes along a video, an open problem of CoLo-CAM (Section 5)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colocam.evaluation.boxes import Box, iou

JUMP = 0.3
"""IoU of the boxes of two consecutive frames below which the pair counts as a jump."""


@dataclass
class Consistency:
    """Consistency of the boxes of consecutive frames, over any number of videos.

    A pair is two consecutive frames that both have a box.

    Attributes:
        pairs: number of pairs.
        overlap: sum of the IoU of all pairs.
        jumps: number of pairs with an IoU below `JUMP`.
    """

    pairs: int = 0
    overlap: float = 0.0
    jumps: int = 0

    def add(self, boxes: Sequence[Box | None]) -> None:
        """Adds one video.

        Args:
            boxes: the box of every frame in order, None for a frame without one.
        """
        for before, after in itertools.pairwise(boxes):
            if before is None or after is None:
                continue
            shared = float(iou([before], [after])[0, 0])
            self.pairs += 1
            self.overlap += shared
            self.jumps += shared < JUMP

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the pairs, 0…1; NaN without a pair."""
        return self.overlap / self.pairs if self.pairs else np.nan

    @property
    def jumps_per_100(self) -> float:
        """Jumps per 100 pairs; NaN without a pair."""
        return 100 * self.jumps / self.pairs if self.pairs else np.nan
