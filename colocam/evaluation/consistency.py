"""How steadily boxes follow a video: an open problem of CoLo-CAM (Section 5)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colocam.evaluation.boxes import Box, iou

JUMP = 0.3
"""IoU of the boxes of two frames in a row below which the box has jumped."""


@dataclass
class Consistency:
    """Of the boxes of videos, frame after frame.

    A pair is two frames in a row that both have a box.

    Attributes:
        pairs: how many.
        overlap: sum of the IoU of their boxes.
        jumps: pairs whose boxes hardly overlap.
    """

    pairs: int = 0
    overlap: float = 0.0
    jumps: int = 0

    def add(self, boxes: Sequence[Box | None]) -> None:
        """Takes in one video: the box of every frame in order, None where there is none."""
        for before, after in itertools.pairwise(boxes):
            if before is None or after is None:
                continue
            shared = float(iou([before], [after])[0, 0])
            self.pairs += 1
            self.overlap += shared
            self.jumps += shared < JUMP

    @property
    def mean_iou(self) -> float:
        """Of the boxes of two frames in a row, 0…1; NaN without a pair."""
        return self.overlap / self.pairs if self.pairs else np.nan

    @property
    def jumps_per_100(self) -> float:
        """Jumps per 100 pairs; NaN without a pair."""
        return 100 * self.jumps / self.pairs if self.pairs else np.nan
