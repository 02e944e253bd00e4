"""Frame log: the numbers of each frame of a localized video, 96 bytes a frame."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from colocam.evaluation.consistency import JUMP
from colocam.localization.inference import Localization

_NO_BOX = (np.nan,) * 4
_COLUMNS = 12  # values per frame


@dataclass(frozen=True, eq=False)
class FrameNumbers:
    """Numbers of the N frames of a video as arrays; NaN where there is none.

    Attributes:
        seconds: (N,) time of each frame, increasing.
        decoded: (N,) bool, whether the frame could be decoded.
        labels: (N,) int, place of the frame's class in `classes`; −1 if it was not decoded.
        probabilities: (N,) of that class.
        boxes: (N, 4) x0, y0, x1, y1 in pixels, corners included; NaN without a box.
        scores: (N,) mean of the score map inside the box; NaN without a box.
        emptiness: (N,) 1 − the largest score.
        overlaps: (N,) IoU of the box with that of the frame before; NaN unless both have one.
        cuts: (N,) bool, whether there is a cut between the decoded frame before and this one.
        classes: class names, in order of appearance.
    """

    seconds: NDArray[np.float64]
    decoded: NDArray[np.bool_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    emptiness: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    cuts: NDArray[np.bool_]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.seconds)

    @cached_property
    def ends(self) -> NDArray[np.float64]:
        """(N,) time at which each frame ends: that of the next one."""
        step = (self.seconds[-1] - self.seconds[0]) / max(1, len(self) - 1) or 1.0
        return np.append(self.seconds[1:], self.seconds[-1] + step)

    @property
    def rate(self) -> float | None:
        """Frames per second; None for a single frame."""
        return (len(self) - 1) / float(self.seconds[-1]) if len(self) > 1 else None

    @property
    def boxed(self) -> NDArray[np.bool_]:
        """(N,) whether the frame has a box."""
        return ~np.isnan(self.boxes[:, 0])

    @property
    def empty(self) -> NDArray[np.bool_]:
        """(N,) whether the frame was decoded and has no box."""
        return self.decoded & ~self.boxed

    @property
    def jumps(self) -> NDArray[np.bool_]:
        """(N,) whether the box jumps from the frame before to this one, see `JUMP`."""
        return self.overlaps < JUMP  # NaN: False


class FrameLog:
    """Collects the numbers of the frames of a video, in order."""

    def __init__(self) -> None:
        self._values = array("d")
        self._classes: dict[str, int] = {}

    def add(
        self, seconds: float, found: Localization | None, overlap: float = np.nan, cut: bool = False
    ) -> None:
        """Adds the next frame.

        Args:
            seconds: its time.
            found: its localization; None if it cannot be decoded.
            overlap: IoU of its box with that of the frame before; NaN unless both have one.
            cut: whether there is a cut before it.
        """
        if found is None:
            self._values.extend((seconds, -1, *(np.nan,) * 8, 0, 0))
            return
        label = self._classes.setdefault(found.class_name, len(self._classes))
        box: Sequence[float] = _NO_BOX if found.box is None else found.box
        score = np.nan if found.box is None else found.score
        self._values.extend(
            (seconds, label, found.probability, *box, score, found.emptiness, overlap, cut, 1)
        )

    def numbers(self) -> FrameNumbers:
        """The numbers of all frames; at least one must have been added."""
        rows = np.array(self._values).reshape(-1, _COLUMNS)
        return FrameNumbers(
            seconds=rows[:, 0],
            labels=rows[:, 1].astype(np.int64),
            probabilities=rows[:, 2],
            boxes=rows[:, 3:7],
            scores=rows[:, 7],
            emptiness=rows[:, 8],
            overlaps=rows[:, 9],
            cuts=rows[:, 10] > 0,
            decoded=rows[:, 11] > 0,
            classes=tuple(self._classes),
        )


def runs(mask: NDArray[np.bool_]) -> list[range]:
    """Maximal ranges of consecutive places at which a mask is true."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [range(start, stop) for start, stop in steps.reshape(-1, 2).tolist()]
