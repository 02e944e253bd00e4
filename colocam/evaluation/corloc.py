"""CorLoc: the share of frames whose box is right, over all thresholds at once.

Version 1 takes the box of the largest contour at each threshold (MaxBoxAcc), version 2 the best
of all contours' boxes (MaxBoxAccV2), both after Choe et al., CVPR 2020. The published CorLoc
chooses its threshold per class on the evaluated frames themselves; `corloc_honest` does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.evaluation.boxes import contour_boxes, iou, quantize

# arange(1000) / 1000 would not do: i * 0.001 and i / 1000 differ in the last bit for some i, and
# int(threshold * maximum) then differs by one where the product should be whole.
THRESHOLDS: NDArray[np.float64] = np.arange(0, 1, 0.001)
"""The 1000 thresholds of the protocol, as shares of a map's maximum."""

LARGEST_CONTOUR, ALL_CONTOURS = 0, 1  # versions 1 and 2 of the evaluation
SAME_SHARE = 1e-9  # shares closer than this differ by rounding only


def iou_curves(score_map: ArrayLike, boxes: ArrayLike) -> NDArray[np.float64]:
    """Best IoU over the ground-truth boxes at each threshold.

    Only levels that cut the map differently are looked at: at most 255, since the map has 8 bits.

    Args:
        score_map: (H, W), floating point in [0, 1].
        boxes: (N, 4) ground truth, N >= 1, in the map's pixels.

    Returns:
        (2, 1000): by largest contour, and by the best of all contours.

    Raises:
        ValueError: a map that `quantize` refuses.
    """
    quantized = quantize(score_map)
    levels = (THRESHOLDS * int(quantized.max())).astype(int)  # (1000,)
    # Two levels with as many pixels at or below them cut the map alike.
    at_or_below = np.bincount(quantized.ravel(), minlength=256).cumsum()
    _, first, inverse = np.unique(at_or_below[levels], return_index=True, return_inverse=True)

    distinct = levels[first].tolist()  # Python's integers: the comparison stays in 8 bits
    found = [contour_boxes(quantized > level) for level in distinct]  # largest first
    starts = np.cumsum([0] + [len(of_level) for of_level in found[:-1]])
    best = iou([box for of_level in found for box in of_level], boxes).max(axis=1)
    curves = np.stack([best[starts], np.maximum.reduceat(best, starts)])  # (2, distinct levels)
    return curves[:, inverse]


@dataclass(frozen=True)
class _Frame:
    label: int
    rank: int | None  # place of the label in the ranking, 0 is first
    curves: NDArray[np.float64] | None  # (2, 1000), None without ground-truth boxes


class CorLoc:
    """Collects frames and sums them up as CorLoc and its relatives.

    Args:
        class_names: one name a class, in the order of the labels.
        ious: at which IoU a box is right; must include 0.5.

    Raises:
        ValueError: 0.5 missing in `ious`.
    """

    def __init__(self, class_names: Sequence[str], ious: Sequence[float] = (0.3, 0.5, 0.7)) -> None:
        if 0.5 not in ious:
            raise ValueError(f"ious: must include 0.5, got {tuple(ious)}")
        self.class_names = tuple(class_names)
        self.ious = tuple(ious)
        self._frames: list[_Frame] = []
        self._num_boxes = 0

    def add(
        self,
        score_map: ArrayLike,
        boxes: ArrayLike,
        label: int,
        ranking: Sequence[int] | None = None,
    ) -> None:
        """Take in one frame.

        Args:
            score_map: (H, W), floating point in [0, 1].
            boxes: (N, 4) ground truth in the map's pixels, integers (see `scale_box`). Empty: the
                frame counts for classification only.
            label: index of the true class.
            ranking: class indices, the most probable first; for all frames or for none.

        Raises:
            ValueError: boxes that are not (N, 4) integers with x0 <= x1 and y0 <= y1, an unknown
                label, a ranking for some frames only, or a map that `quantize` refuses.
        """
        truth = np.asarray(boxes, dtype=np.float64)
        truth = truth.reshape(0, 4) if truth.size == 0 else truth
        if truth.ndim != 2 or truth.shape[1] != 4 or (truth != np.trunc(truth)).any():
            raise ValueError(f"boxes: (N, 4) integers needed, got {boxes}")
        if (truth[:, :2] > truth[:, 2:]).any():
            raise ValueError(f"boxes: x0 <= x1 and y0 <= y1 needed, got {boxes}")
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label: must lie in 0...{len(self.class_names) - 1}, got {label}")
        if self._frames and (ranking is None) != (self._frames[0].rank is None):
            raise ValueError("ranking: needed for all frames or for none")
        rank = None
        if ranking is not None:
            order = [int(index) for index in ranking]
            rank = order.index(label) if label in order else len(self.class_names)
        curves = iou_curves(score_map, truth) if len(truth) else None
        self._frames.append(_Frame(int(label), rank, curves))
        self._num_boxes += len(truth)

    def extend(self, other: "CorLoc") -> None:
        """Take in all frames of another collection, of the same classes and IoUs.

        Raises:
            ValueError: of others, or with rankings where this one has none, or the other way round.
        """
        if (self.class_names, self.ious) != (other.class_names, other.ious):
            raise ValueError("other: collected for other classes or IoUs")
        if len({frame.rank is None for frame in self._frames[:1] + other._frames[:1]}) == 2:
            raise ValueError("ranking: needed for all frames or for none")
        self._frames += other._frames
        self._num_boxes += other._num_boxes

    def best_threshold(self) -> float:
        """The one threshold that is best over all classes jointly, at IoU 0.5, version 1.

        Meant for validation, as `summary`'s `honest_threshold` on other frames. Jointly: by the
        mean over classes of their shares. Of several best thresholds, the middle of the longest
        run of adjacent ones (of the first such run, and the lower of two middles).

        Returns:
            One of `THRESHOLDS`.

        Raises:
            ValueError: no frame with boxes was added.
        """
        shares = self._shares(LARGEST_CONTOUR, 0.5)
        if not shares:
            raise ValueError("best_threshold: no frame with boxes was added")
        joint = np.mean(list(shares.values()), axis=0)  # (1000,)
        best = np.flatnonzero(joint >= joint.max() - SAME_SHARE)
        runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
        longest = max(runs, key=len)
        return float(THRESHOLDS[longest[(len(longest) - 1) // 2]])

    def summary(self, honest_threshold: float | None = None) -> dict[str, Any]:
        """Sum up the frames added so far; plain Python numbers, ready for JSON.

        Shares and accuracies are in %. A mean over classes leaves out classes without a frame
        with boxes. What cannot be known is None: all of localization without any box, and what
        asks for the class where no rankings were given.

        Args:
            honest_threshold: one threshold for all classes, in [0, 1), chosen elsewhere; the
                nearest of `THRESHOLDS` is taken.

        Returns:
            - corloc: {"0.3": …, "0.5": …, "0.7": …}: mean over classes of a class's share at its
              best threshold, chosen for each class and IoU on these frames.
            - per_class: {name: {corloc, threshold, frames}} at IoU 0.5 for classes with boxes;
              the lowest of equally good thresholds; frames with boxes.
            - corloc_honest: {"0.5": …, "threshold": …}, None without `honest_threshold`.
            - corloc_v2: all contours tried, mean over classes, then over the IoUs.
            - top1_loc, top5_loc: box right (IoU 0.5, the class's threshold of version 1) and class
              among the 1 or 5 most probable; mean over classes.
            - classification_accuracy: over all frames.
            - frames, boxes: how many were added, frames without boxes included.

        Raises:
            ValueError: `honest_threshold` outside [0, 1).
        """
        if honest_threshold is not None and not 0 <= honest_threshold < 1:
            raise ValueError(f"honest_threshold: must lie in [0, 1), got {honest_threshold}")
        corloc = {f"{at:g}": self._best_mean(LARGEST_CONTOUR, at) for at in self.ious}
        version_2 = [self._best_mean(ALL_CONTOURS, at) for at in self.ious]
        boxed = self._num_boxes > 0
        return {
            "corloc": corloc if boxed else None,
            "per_class": self._per_class(),
            "corloc_honest": self._honest(honest_threshold),
            "corloc_v2": float(np.mean(version_2)) if boxed else None,
            "top1_loc": self._top_localization(1),
            "top5_loc": self._top_localization(5),
            "classification_accuracy": self._classification_accuracy(),
            "frames": len(self._frames),
            "boxes": self._num_boxes,
        }

    def _boxed_frames(self) -> dict[int, list[_Frame]]:
        """Frames with boxes by class, classes in order, none empty."""
        grouped: dict[int, list[_Frame]] = {}
        for frame in self._frames:
            if frame.curves is not None:
                grouped.setdefault(frame.label, []).append(frame)
        return dict(sorted(grouped.items()))

    def _shares(self, version: int, at: float) -> dict[int, NDArray[np.float64]]:
        """Share (0...1) of a class's frames that are right at each threshold: (1000,) a class."""
        return {
            label: np.mean([frame.curves[version] >= at for frame in frames], axis=0)
            for label, frames in self._boxed_frames().items()
        }

    def _best_mean(self, version: int, at: float) -> float | None:
        best = [share.max() for share in self._shares(version, at).values()]
        return 100 * float(np.mean(best)) if best else None

    def _per_class(self) -> dict[str, dict[str, float | int]]:
        grouped = self._boxed_frames()
        return {
            self.class_names[label]: {
                "corloc": 100 * float(share.max()),
                "threshold": float(THRESHOLDS[share.argmax()]),  # argmax: the lowest of equals
                "frames": len(grouped[label]),
            }
            for label, share in self._shares(LARGEST_CONTOUR, 0.5).items()
        }

    def _honest(self, threshold: float | None) -> dict[str, float] | None:
        shares = self._shares(LARGEST_CONTOUR, 0.5)
        if threshold is None or not shares:
            return None
        index = int(np.abs(THRESHOLDS - threshold).argmin())
        mean = np.mean([share[index] for share in shares.values()])
        return {"0.5": 100 * float(mean), "threshold": float(THRESHOLDS[index])}

    def _top_localization(self, k: int) -> float | None:
        shares = self._shares(LARGEST_CONTOUR, 0.5)
        if not shares or self._frames[0].rank is None:
            return None
        per_class = []
        for label, frames in self._boxed_frames().items():
            index = shares[label].argmax()
            right = [f.curves[LARGEST_CONTOUR, index] >= 0.5 and f.rank < k for f in frames]
            per_class.append(np.mean(right))
        return 100 * float(np.mean(per_class))

    def _classification_accuracy(self) -> float | None:
        if not self._frames or self._frames[0].rank is None:
            return None
        return 100 * float(np.mean([frame.rank == 0 for frame in self._frames]))
