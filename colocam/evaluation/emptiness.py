"""Whether a frame shows the object at all: an open problem of CoLo-CAM (Section 5)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCORES = ("class", "map", "both")
"""Ways to score a frame: by its class, by its score map, by both."""


def emptiness(
    likely: NDArray[np.floating], score_map: NDArray[np.floating], how: str = "map"
) -> float:
    """How empty a frame looks, 0…1: no class is probable, no pixel is foreground.

    Args:
        likely: (K,) class probabilities.
        score_map: (H, W) S¹ in [0, 1].
        how: "class": 1 − the highest probability; "map": 1 − the largest score; "both": 1 − their
            product.

    Raises:
        ValueError: another `how`.
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
    """Area under the receiver operating characteristic: how well scores tell two kinds apart.

    The probability that a positive one has a higher score than a negative one, equal scores
    counting half; 0.5 is chance.

    Args:
        scores: (N,).
        positive: (N,) bool.

    Returns:
        0…1; NaN where either kind is missing.
    """
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    above = np.sort(scores[~positive])
    if not len(above) or not positive.any():
        return np.nan
    own = scores[positive]
    less = np.searchsorted(above, own, "left")
    equal = np.searchsorted(above, own, "right") - less
    return float((less + equal / 2).mean() / len(above))
