"""CorLoc: the share of frames whose box is right, over all thresholds at once.

Version 1 takes the box of the largest contour at each threshold (MaxBoxAcc), version 2 the best
of all contours' boxes (MaxBoxAccV2), both after Choe et al., CVPR 2020. The published CorLoc
chooses its threshold per class on the evaluated frames themselves; `corloc_honest` does not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from multiprocessing.pool import Pool
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.evaluation import breakdown
from colocam.evaluation.boxes import (
    NO_BOX,
    Contour,
    Size,
    find_contours,
    iou,
    measure_contours,
    quantize,
)

# arange(1000) / 1000 would not do: i * 0.001 and i / 1000 differ in the last bit for some i, and
# int(threshold * maximum) then differs by one where the product should be whole.
THRESHOLDS: NDArray[np.float64] = np.arange(0, 1, 0.001)
"""The 1000 thresholds of the protocol, as shares of a map's maximum."""

LARGEST_CONTOUR, ALL_CONTOURS = 0, 1  # versions 1 and 2 of the evaluation
AT_ONCE = 20_000  # contours measured together: enough to be quick, few enough for the memory
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
    if not quantized.any():
        return np.full((2, len(THRESHOLDS)), iou([NO_BOX], boxes).max())
    levels = (THRESHOLDS * int(quantized.max())).astype(int)  # (1000,)
    # Two levels with as many pixels at or below them cut the map alike.
    at_or_below = np.bincount(quantized.ravel(), minlength=256).cumsum()
    _, first, inverse = np.unique(at_or_below[levels], return_index=True, return_inverse=True)

    curves = [
        _best_overlaps(cuts, quantized.shape[::-1], boxes)
        for cuts in _cuts(quantized, levels[first].tolist())
    ]
    return np.concatenate(curves, axis=1)[:, inverse]


def _cuts(quantized: NDArray[np.uint8], levels: Sequence[int]) -> Iterator[list[Sequence[Contour]]]:
    """The contours of what lies above each level, in lists of several levels.

    Every level is below the maximum, so that there is a contour.
    """
    cuts, count = [], 0
    spans = [_spans(quantized.max(axis=axis), levels) for axis in (1, 0)]
    for level, y, x in zip(levels, *spans, strict=True):
        # Only the rectangle around what is left needs to be looked at. The level is one of
        # Python's integers: the comparison stays in 8 bits.
        part = quantized[y[0] : y[1], x[0] : x[1]] > level
        cuts.append(find_contours(part, (x[0], y[0])))
        count += len(cuts[-1])
        if count > AT_ONCE:
            yield cuts
            cuts, count = [], 0
    if cuts:
        yield cuts


def _spans(highest: NDArray[np.uint8], levels: Sequence[int]) -> list[list[int]]:
    """First place above each level, and the one after the last: of rows, or of columns."""
    above = highest > np.array(levels)[:, None]  # (levels, places)
    after = above.shape[1] - above[:, ::-1].argmax(axis=1)
    return np.stack([above.argmax(axis=1), after], axis=1).tolist()


def _best_overlaps(
    cuts: Sequence[Sequence[Contour]], size: Size, boxes: ArrayLike
) -> NDArray[np.float64]:
    """Best IoU of each level's largest contour, and of all its contours: (2, levels)."""
    found, areas = measure_contours([contour for of_level in cuts for contour in of_level], size)
    best = iou(found, boxes).max(axis=1)
    counts = np.array([len(of_level) for of_level in cuts])
    starts = np.cumsum(counts) - counts
    largest = np.lexsort((-areas, np.repeat(np.arange(len(cuts)), counts)))[starts]
    return np.stack([best[largest], np.maximum.reduceat(best, starts)])


@dataclass(frozen=True)
class _Frame:
    label: int
    rank: int | None  # place of the label in the ranking, 0 is first
    curves: NDArray[np.float64] | None  # (2, 1000), None without ground-truth boxes
    num_boxes: int
    video: str | None
    area: float  # share of the map that the largest ground-truth box covers


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

    def add(
        self,
        score_map: ArrayLike,
        boxes: ArrayLike,
        label: int,
        ranking: Sequence[int] | None = None,
        video: str | None = None,
    ) -> None:
        """Take in one frame.

        Args:
            score_map: (H, W), floating point in [0, 1].
            boxes: (N, 4) ground truth in the map's pixels, integers (see `scale_box`). Empty: the
                frame counts for classification only.
            label: index of the true class.
            ranking: class indices, the most probable first; for all frames or for none.
            video: name of the frame's video; None: it has no part in the shares by video.

        Raises:
            ValueError: boxes that are not (N, 4) integers with x0 <= x1 and y0 <= y1, an unknown
                label, a ranking for some frames only, or a map that `quantize` refuses.
        """
        self.add_all([(score_map, boxes, label, ranking, video)])

    def add_all(self, frames: Sequence[tuple], pool: Pool | None = None) -> None:
        """Take in several frames, the arguments of `add` each, in their order.

        Args:
            frames: tuples of all five arguments.
            pool: processes that share the work; None: this one does it.

        Raises:
            ValueError: see `add`; no frame is taken in then.
        """
        truths = [self._checked(boxes, label) for _, boxes, label, _, _ in frames]
        ranks = [self._rank(label, ranking) for _, _, label, ranking, _ in frames]
        if len({rank is None for rank in [*(f.rank for f in self._frames[:1]), *ranks]}) == 2:
            raise ValueError("ranking: needed for all frames or for none")
        jobs = [(one[0], truth) for one, truth in zip(frames, truths, strict=True) if len(truth)]
        found = pool.starmap(iou_curves, jobs, 1) if pool else starmap(iou_curves, jobs)
        curves = iter(found)
        self._frames += [
            _Frame(
                int(label), rank, next(curves) if len(truth) else None, len(truth), video,
                _largest_share(truth, np.shape(score_map)),
            )
            for (score_map, _, label, _, video), truth, rank in zip(
                frames, truths, ranks, strict=True
            )
        ]  # fmt: skip

    def _checked(self, boxes: ArrayLike, label: int) -> NDArray[np.float64]:
        truth = np.asarray(boxes, dtype=np.float64)
        truth = truth.reshape(0, 4) if truth.size == 0 else truth
        if truth.ndim != 2 or truth.shape[1] != 4 or (truth != np.trunc(truth)).any():
            raise ValueError(f"boxes: (N, 4) integers needed, got {boxes}")
        if (truth[:, :2] > truth[:, 2:]).any():
            raise ValueError(f"boxes: x0 <= x1 and y0 <= y1 needed, got {boxes}")
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label: must lie in 0...{len(self.class_names) - 1}, got {label}")
        return truth

    def _rank(self, label: int, ranking: Sequence[int] | None) -> int | None:
        if ranking is None:
            return None
        order = [int(index) for index in ranking]
        return order.index(label) if label in order else len(self.class_names)

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

    def overlaps(self, threshold: float) -> list[float | None]:
        """IoU of each frame's box (largest contour) at the nearest of `THRESHOLDS`, as added.

        The best over its ground-truth boxes; None for a frame without any.
        """
        place = _nearest(threshold)
        return [
            None if frame.curves is None else float(frame.curves[LARGEST_CONTOUR, place])
            for frame in self._frames
        ]

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
            - per_video: {video: {frames, corloc, corloc_honest}} at IoU 0.5: shares of its frames
              with boxes, at the threshold of the class (version 1) and at `honest_threshold`.
            - by_size: {"small", "medium", "large": {frames, corloc, corloc_honest, area}}: the
              same by thirds of the largest box's relative area, see `breakdown.by_size`.
            - threshold_curve: {"threshold": …, "0.3": …, "0.5": …, "0.7": …}: lists of 100 values,
              mean over classes with one threshold for all, see `breakdown.threshold_curve`; None
              without any box.

        Raises:
            ValueError: `honest_threshold` outside [0, 1).
        """
        if honest_threshold is not None and not 0 <= honest_threshold < 1:
            raise ValueError(f"honest_threshold: must lie in [0, 1), got {honest_threshold}")
        corloc = {f"{at:g}": self._best_mean(LARGEST_CONTOUR, at) for at in self.ious}
        version_2 = [self._best_mean(ALL_CONTOURS, at) for at in self.ious]
        num_boxes = sum(frame.num_boxes for frame in self._frames)
        boxed = num_boxes > 0
        verdicts = self._verdicts(honest_threshold)
        return {
            "corloc": corloc if boxed else None,
            "per_class": self._per_class(),
            "corloc_honest": self._honest(honest_threshold),
            "corloc_v2": float(np.mean(version_2)) if boxed else None,
            "top1_loc": self._top_localization(1),
            "top5_loc": self._top_localization(5),
            "classification_accuracy": self._classification_accuracy(),
            "frames": len(self._frames),
            "boxes": num_boxes,
            "per_video": breakdown.per_video(verdicts),
            "by_size": breakdown.by_size(verdicts),
            "threshold_curve": self._threshold_curve() if boxed else None,
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
        index = _nearest(threshold)
        mean = np.mean([share[index] for share in shares.values()])
        return {"0.5": 100 * float(mean), "threshold": float(THRESHOLDS[index])}

    def _verdicts(self, honest_threshold: float | None) -> breakdown.Verdicts:
        """Whether each frame with boxes is right at IoU 0.5, version 1; by class."""
        best = {
            label: share.argmax() for label, share in self._shares(LARGEST_CONTOUR, 0.5).items()
        }
        frames = [frame for of_class in self._boxed_frames().values() for frame in of_class]

        def right(places: Sequence[int]) -> NDArray[np.bool_]:
            overlaps = [f.curves[LARGEST_CONTOUR, i] for f, i in zip(frames, places, strict=True)]
            return np.array(overlaps, dtype=np.float64) >= 0.5

        honest = None
        if honest_threshold is not None:
            honest = right([_nearest(honest_threshold)] * len(frames))
        return breakdown.Verdicts(
            videos=[frame.video for frame in frames],
            areas=np.array([frame.area for frame in frames], dtype=np.float64),
            published=right([best[frame.label] for frame in frames]),
            honest=honest,
        )

    def _threshold_curve(self) -> dict[str, list[float]]:
        shares = {at: list(self._shares(LARGEST_CONTOUR, at).values()) for at in self.ious}
        by_name = {f"{at:g}": np.stack(values) for at, values in shares.items()}
        return breakdown.threshold_curve(by_name, THRESHOLDS)

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


def _nearest(threshold: float) -> int:
    """Place of the nearest of `THRESHOLDS`."""
    return int(np.abs(THRESHOLDS - threshold).argmin())


def _largest_share(boxes: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Share of a map (H, W) that the largest of its boxes (N, 4) covers; 0 without boxes."""
    if not len(boxes):
        return 0.0
    return float((boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1).max() / np.prod(shape))
