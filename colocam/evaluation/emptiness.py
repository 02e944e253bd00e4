"""Emptiness: a score for frames without an object, an open problem of CoLo-CAM (Section 5)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCORES = ("class", "map", "both")
"""Valid values of `how` in `emptiness`."""


def emptiness(
    likely: NDArray[np.floating], score_map: NDArray[np.floating], how: str = "map"
) -> float:
    """Emptiness of a frame, 0…1: high if no class is probable or no pixel is foreground.

    Args:
        likely: (K,) class probabilities.
        score_map: (H, W) S¹ in [0, 1].
        how: "class": 1 − the highest probability; "map": 1 − the largest score; "both": 1 − their
            product.

    Raises:
        ValueError: unknown `how`.
    """
    if how not in SCORES:
        raise ValueError(f"how: must be one of {', '.join(SCORES)}, got {how!r}")
    present = 1.0
    if how != "map":
        present *= float(likely.max())
    if how != "class":
        present *= float(score_map.max())
    return 1 - present


def area_under_roc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the receiver operating characteristic (ROC) curve.

    It is the probability that a positive sample has a higher score than a negative one, where equal
    scores count half; 0.5 is chance.

    Args:
        scores: (N,).
        positive: (N,) bool.

    Returns:
        0…1; NaN without positive or without negative samples.
    """
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    negatives = np.sort(scores[~positive])
    if not len(negatives) or not positive.any():
        return np.nan
    positives = scores[positive]
    less = np.searchsorted(negatives, positives, "left")
    equal = np.searchsorted(negatives, positives, "right") - less
    return float((less + equal / 2).mean() / len(negatives))
