"""CorLoc broken down: by video, by size of the object, along the threshold.

All of it at the thresholds of `colocam.evaluation.corloc`, by the box of the largest contour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZES = ("small", "medium", "large")
CURVE_STEP = 10  # of the 1000 thresholds every tenth is kept


@dataclass(frozen=True)
class Verdicts:
    """Which frames with boxes are right at IoU 0.5.

    Attributes:
        videos: (F,) the video of each frame; None where it is not known.
        areas: (F,) share of the image that the frame's largest ground-truth box covers, 0…1.
        published: (F,) right at the threshold that is best for the frame's class.
        honest: (F,) right at the one threshold chosen elsewhere; None where there is none.
    """

    videos: Sequence[str | None]
    areas: NDArray[np.float64]
    published: NDArray[np.bool_]
    honest: NDArray[np.bool_] | None

    def shares(self, chosen: NDArray[np.intp]) -> dict[str, Any]:
        """Number of the chosen frames, and shares of them that are right, in %."""
        return {
            "frames": len(chosen),
            "corloc": _percent(self.published[chosen]),
            "corloc_honest": None if self.honest is None else _percent(self.honest[chosen]),
        }


def per_video(verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """{video: {frames, corloc, corloc_honest}}, in the order of their names; shares of frames."""
    places: dict[str, list[int]] = {}
    for place, video in enumerate(verdicts.videos):
        if video is not None:
            places.setdefault(video, []).append(place)
    return {video: verdicts.shares(np.array(places[video])) for video in sorted(places)}


def by_size(verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """{"small", "medium", "large": {frames, corloc, corloc_honest, area}}: thirds of the frames.

    A frame goes by the relative area of its largest box; equal areas stay together, so that the
    thirds may be uneven, or one of them empty (its shares are None then). Shares of frames, not
    means over classes: a class may have no frame of a size. `area` is [lowest, highest].
    """
    if not len(verdicts.areas):
        return {}
    ordered, count = np.sort(verdicts.areas), len(verdicts.areas)
    bounds = ordered[[-(-count // 3) - 1, -(-2 * count // 3) - 1]]
    third = np.searchsorted(bounds, verdicts.areas)  # an area on a bound goes below it
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
        shares: by IoU, the share of each class's frames that are right: (C, 1000), 0…1.
        thresholds: (1000,).

    Returns:
        {"threshold": 0, 0.01 … 0.99, and by IoU the mean over classes there, in %}.
    """
    kept = slice(None, None, CURVE_STEP)
    curves = {at: (100 * np.mean(values, axis=0))[kept] for at, values in shares.items()}
    return {
        "threshold": thresholds[kept].round(3).tolist(),
        **{at: values.round(2).tolist() for at, values in curves.items()},
    }


def _extent(values: NDArray[np.float64]) -> list[float] | None:
    return [round(float(end), 4) for end in (values.min(), values.max())] if len(values) else None


def _percent(right: NDArray[np.bool_]) -> float | None:
    return 100 * float(right.mean()) if len(right) else None
