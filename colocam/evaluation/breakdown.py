"""Breakdown of CorLoc: by video, by object size and by threshold.

All values use the thresholds of `colocam.evaluation.iou_curves` and the box of the largest contour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZES = ("small", "medium", "large")
CURVE_STEP = 10  # every tenth of the 1000 thresholds is kept


@dataclass(frozen=True)
class Verdicts:
    """Whether each of F frames with boxes is correct at IoU 0.5.

    Attributes:
        videos: (F,) the video of each frame, or None if it is unknown.
        areas: (F,) share of the image that the frame's largest ground-truth box covers, 0…1.
        published: (F,) correct at the threshold that is best for the frame's class.
        honest: (F,) correct at the threshold chosen on other frames; None without one.
    """

    videos: Sequence[str | None]
    areas: NDArray[np.float64]
    published: NDArray[np.bool_]
    honest: NDArray[np.bool_] | None

    def shares(self, chosen: NDArray[np.intp]) -> dict[str, Any]:
        """Number of the chosen frames, and the share of correct ones in %."""
        return {
            "frames": len(chosen),
            "corloc": _percent(self.published[chosen]),
            "corloc_honest": None if self.honest is None else _percent(self.honest[chosen]),
        }


def per_video(verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """Shares of correct frames by video.

    Args:
        verdicts: of the frames; those of unknown videos are skipped.

    Returns:
        {video: {frames, corloc, corloc_honest}}, sorted by name.
    """
    places: dict[str, list[int]] = {}
    for place, video in enumerate(verdicts.videos):
        if video is not None:
            places.setdefault(video, []).append(place)
    return {video: verdicts.shares(np.array(places[video])) for video in sorted(places)}


def by_size(verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """Shares of correct frames by object size, in thirds of the frames.

    The size of a frame is the relative area of its largest box. Frames of equal area are in the
    same third: thirds may be uneven, or one of them empty (its shares are None). Values are shares
    of frames, not means over classes, since a class may have no frame of a size.

    Args:
        verdicts: of the frames.

    Returns:
        {"small", "medium", "large": {frames, corloc, corloc_honest, area}}, where `area` is
        [lowest, highest]; empty without frames.
    """
    if not len(verdicts.areas):
        return {}
    ordered, count = np.sort(verdicts.areas), len(verdicts.areas)
    bounds = ordered[[-(-count // 3) - 1, -(-2 * count // 3) - 1]]
    third = np.searchsorted(
        bounds, verdicts.areas
    )  # an area equal to a bound is in the lower third
    parts = {}
    for number, name in enumerate(SIZES):
        chosen = np.flatnonzero(third == number)
        parts[name] = {**verdicts.shares(chosen), "area": _extent(verdicts.areas[chosen])}
    return parts


def threshold_curve(
    shares: Mapping[str, NDArray[np.float64]], thresholds: NDArray[np.float64]
) -> dict[str, list[float]]:
    """CorLoc at one threshold for all classes, at every tenth of the thresholds.

    Args:
        shares: by IoU, the share of correct frames of each class: (C, 1000), 0…1.
        thresholds: (1000,).

    Returns:
        {"threshold": [0, 0.01, …, 0.99], IoU: mean over classes at each of them, in %}.
    """
    kept = slice(None, None, CURVE_STEP)
    curves = {at: (100 * np.mean(values, axis=0))[kept] for at, values in shares.items()}
    return {
        "threshold": thresholds[kept].round(3).tolist(),
        **{at: values.round(2).tolist() for at, values in curves.items()},
    }


def _extent(values: NDArray[np.float64]) -> list[float] | None:
    return [round(float(end), 4) for end in (values.min(), values.max())] if len(values) else None


def _percent(correct: NDArray[np.bool_]) -> float | None:
    return 100 * float(correct.mean()) if len(correct) else None
