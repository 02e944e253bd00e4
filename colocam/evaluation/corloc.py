"""CorLoc: the share of frames whose box is correct, evaluated at all thresholds.

Version 1 uses the box of the largest contour at each threshold (MaxBoxAcc), version 2 the best of
all contours' boxes (MaxBoxAccV2), both from Choe et al., CVPR 2020. The published CorLoc uses the
threshold per class that is best on the evaluated frames; `corloc_honest` uses a given threshold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import starmap
from multiprocessing.pool import Pool
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.evaluation import breakdown
from colocam.evaluation.iou_curves import THRESHOLDS, iou_curves

LARGEST_CONTOUR, ALL_CONTOURS = 0, 1  # versions 1 and 2 of the evaluation
SAME_SHARE = 1e-9  # shares closer than this differ by rounding only


@dataclass(frozen=True)
class _Frame:
    label: int
    rank: int | None  # of the label among the classes, 0 is the most probable
    curves: NDArray[np.float64] | None  # (2, 1000), None without ground-truth boxes
    num_boxes: int
    video: str | None
    area: float  # share of the map that the largest ground-truth box covers

    def overlaps(self, version: int) -> NDArray[np.float64]:
        """IoU at each threshold of a frame with boxes: (1000,)."""
        assert self.curves is not None
        return self.curves[version]


class CorLoc:
    """Accumulates frames and computes CorLoc and further metrics of them.

    Args:
        class_names: one name per class, in the order of the labels.
        ious: smallest IoU of a correct box; must include 0.5.
        curves: computes the IoU curves of a map and its ground truth; a module's function.

    Raises:
        ValueError: `ious` does not include 0.5.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        ious: Sequence[float] = (0.3, 0.5, 0.7),
        curves: Callable[[Any, Any], NDArray[np.float64]] = iou_curves,
    ) -> None:
        if 0.5 not in ious:
            raise ValueError(f"ious: must include 0.5, got {tuple(ious)}")
        self.class_names = tuple(class_names)
        self.ious, self._iou_curves = tuple(ious), curves
        self._frames: list[_Frame] = []

    def add(
        self,
        score_map: ArrayLike,
        boxes: ArrayLike,
        label: int,
        ranking: Sequence[int] | None = None,
        video: str | None = None,
    ) -> None:
        """Adds one frame.

        Args:
            score_map: (H, W), floating point in [0, 1].
            boxes: (N, 4) ground truth in the map's pixels, integers (see `scale_box`). Empty: the
                frame counts for classification only.
            label: index of the true class.
            ranking: class indices, the most probable first; for all frames or for none.
            video: name of the frame's video; None: the frame is not part of `per_video`.

        Raises:
            ValueError: boxes that are not (N, 4) integers with x0 <= x1 and y0 <= y1, unknown
                label, ranking for some frames only, or invalid map (see `quantize`).
        """
        self.add_all([(score_map, boxes, label, ranking, video)])

    def add_all(self, frames: Sequence[tuple], pool: Pool | None = None) -> None:
        """Adds several frames.

        Args:
            frames: tuples of the five arguments of `add`, in their order.
            pool: processes that share the work; None: this process.

        Raises:
            ValueError: see `add`; no frame is added then.
        """
        truths = [self._checked(boxes, label) for _, boxes, label, _, _ in frames]
        ranks = [self._rank(label, ranking) for _, _, label, ranking, _ in frames]
        if len({rank is None for rank in [*(f.rank for f in self._frames[:1]), *ranks]}) == 2:
            raise ValueError("ranking: needed for all frames or for none")
        jobs = [(one[0], truth) for one, truth in zip(frames, truths, strict=True) if len(truth)]
        found = pool.starmap(self._iou_curves, jobs, 1) if pool else starmap(self._iou_curves, jobs)
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
            raise ValueError(f"boxes: (N, 4) integers needed, got {boxes!r}")
        if (truth[:, :2] > truth[:, 2:]).any():
            raise ValueError(f"boxes: x0 <= x1 and y0 <= y1 needed, got {boxes!r}")
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label: must be in 0…{len(self.class_names) - 1}, got {label}")
        return truth

    def _rank(self, label: int, ranking: Sequence[int] | None) -> int | None:
        if ranking is None:
            return None
        order = [int(index) for index in ranking]
        return order.index(label) if label in order else len(self.class_names)

    def extend(self, other: "CorLoc") -> None:
        """Adds all frames of another accumulator.

        Raises:
            ValueError: other classes or IoUs, or only one of the two has rankings.
        """
        if (self.class_names, self.ious) != (other.class_names, other.ious):
            raise ValueError("other: collected for other classes or IoUs")
        if len({frame.rank is None for frame in self._frames[:1] + other._frames[:1]}) == 2:
            raise ValueError("ranking: needed for all frames or for none")
        self._frames += other._frames

    def best_threshold(self) -> float:
        """The threshold with the best mean over classes, at IoU 0.5, version 1.

        Computed on validation frames, it is the `honest_threshold` of `summary` on test frames. If
        several thresholds are best, it is the middle of the longest run of adjacent ones (the first
        such run, the lower of two middles).

        Returns:
            One of `THRESHOLDS`.

        Raises:
            ValueError: no frame has boxes.
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
        """IoU of each frame's box (largest contour), in the order in which frames were added.

        Args:
            threshold: the nearest of `THRESHOLDS` is used.

        Returns:
            The best IoU over the ground-truth boxes of each frame; None for a frame without boxes.
        """
        place = _nearest(threshold)
        return [
            None if frame.curves is None else float(frame.curves[LARGEST_CONTOUR, place])
            for frame in self._frames
        ]

    def summary(self, honest_threshold: float | None = None) -> dict[str, Any]:
        """Metrics of the frames added so far, as JSON-serializable numbers.

        Shares and accuracies are in %. Means over classes skip classes without frames with boxes.
        Undefined values are None: localization without any box, and metrics that depend on the
        predicted class without rankings.

        Args:
            honest_threshold: one threshold for all classes, in [0, 1), chosen on other frames; the
                nearest of `THRESHOLDS` is used.

        Returns:
            - corloc: {"0.3": …, "0.5": …, "0.7": …}: mean over classes of the share at the best
              threshold, chosen for each class and IoU on these frames.
            - per_class: {name: {corloc, threshold, frames}} at IoU 0.5 for classes with boxes;
              the lowest of equally good thresholds; number of frames with boxes.
            - corloc_honest: {"0.5": …, "threshold": …}, None without `honest_threshold`.
            - corloc_v2: version 2, mean over classes, then over the IoUs.
            - top1_loc, top5_loc: box correct (IoU 0.5, the class's threshold of version 1) and
              class among the 1 or 5 most probable; mean over classes.
            - classification_accuracy: over all frames.
            - frames, boxes: numbers of frames (those without boxes included) and boxes.
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
            raise ValueError(f"honest_threshold: must be in [0, 1), got {honest_threshold}")
        corloc = {f"{at:g}": self._best_mean(LARGEST_CONTOUR, at) for at in self.ious}
        version_2 = [self._best_mean(ALL_CONTOURS, at) for at in self.ious]
        num_boxes = sum(frame.num_boxes for frame in self._frames)
        boxed = num_boxes > 0
        verdicts = self._verdicts(honest_threshold)
        return {
            "corloc": corloc if boxed else None,
            "per_class": self._per_class(),
            "corloc_honest": self._honest(honest_threshold),
            "corloc_v2": float(np.mean(np.array(version_2, float))) if boxed else None,
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
        """Frames with boxes by class, in the order of the labels."""
        grouped: dict[int, list[_Frame]] = {}
        for frame in self._frames:
            if frame.curves is not None:
                grouped.setdefault(frame.label, []).append(frame)
        return dict(sorted(grouped.items()))

    def _shares(self, version: int, at: float) -> dict[int, NDArray[np.float64]]:
        """Share (0…1) of correct frames at each threshold: (1000,) per class."""
        return {
            label: np.mean([frame.overlaps(version) >= at for frame in frames], axis=0)
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
        """Whether each frame with boxes is correct at IoU 0.5, version 1; frames by class."""
        best = {
            label: int(share.argmax())
            for label, share in self._shares(LARGEST_CONTOUR, 0.5).items()
        }
        frames = [frame for of_class in self._boxed_frames().values() for frame in of_class]

        def correct(places: Sequence[int]) -> NDArray[np.bool_]:
            overlaps = [f.overlaps(LARGEST_CONTOUR)[i] for f, i in zip(frames, places, strict=True)]
            return np.array(overlaps, dtype=np.float64) >= 0.5

        honest = None
        if honest_threshold is not None:
            honest = correct([_nearest(honest_threshold)] * len(frames))
        return breakdown.Verdicts(
            videos=[frame.video for frame in frames],
            areas=np.array([frame.area for frame in frames], dtype=np.float64),
            published=correct([best[frame.label] for frame in frames]),
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
            correct = [
                f.overlaps(LARGEST_CONTOUR)[index] >= 0.5 and f.rank is not None and f.rank < k
                for f in frames
            ]
            per_class.append(np.mean(correct))
        return 100 * float(np.mean(per_class))

    def _classification_accuracy(self) -> float | None:
        if not self._frames or self._frames[0].rank is None:
            return None
        return 100 * float(np.mean([frame.rank == 0 for frame in self._frames]))


def _nearest(threshold: float) -> int:
    """Index of the nearest of `THRESHOLDS`."""
    return int(np.abs(THRESHOLDS - threshold).argmin())


def _largest_share(boxes: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Share of a map (H, W) that the largest of its boxes (N, 4) covers; 0 without boxes."""
    if not len(boxes):
        return 0.0
    return float((boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1).max() / np.prod(shape))
