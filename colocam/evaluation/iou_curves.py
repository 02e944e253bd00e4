"""IoU curves: the IoU of a score map's boxes with the ground truth, at all thresholds at once."""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.evaluation.boxes import (
    NO_BOX,
    Contour,
    Size,
    box_at,
    centre_map,
    find_contours,
    iou,
    measure_contours,
    quantize,
)

# Not arange(1000) / 1000: i * 0.001 and i / 1000 differ in the last bit for some i, and
# int(threshold * maximum) then differs by one where the exact product is an integer.
THRESHOLDS: NDArray[np.float64] = np.arange(0, 1, 0.001)
"""(1000,): the thresholds of the protocol, as fractions of a map's maximum."""

CHUNK = 20_000  # contours measured together: bounds the memory


def iou_curves(score_map: ArrayLike, boxes: ArrayLike) -> NDArray[np.float64]:
    """Best IoU over the ground-truth boxes at each threshold.

    Only levels with different masks are evaluated: at most 255, since the map has 8 bits.

    Args:
        score_map: (H, W), floating point in [0, 1].
        boxes: (N, 4) ground truth, N >= 1, in the map's pixels.

    Returns:
        (2, 1000): of the largest contour, and of the best of all contours.

    Raises:
        ValueError: invalid map, see `quantize`.
    """
    quantized = quantize(score_map)
    if not quantized.any():
        return np.full((2, len(THRESHOLDS)), iou([NO_BOX], boxes).max())
    levels = (THRESHOLDS * int(quantized.max())).astype(int)  # (1000,)
    # Levels with equally many pixels at or below them have the same mask.
    at_or_below = np.bincount(quantized.ravel(), minlength=256).cumsum()
    _, first, inverse = np.unique(at_or_below[levels], return_index=True, return_inverse=True)

    curves = [
        _best_overlaps(cuts, quantized.shape[::-1], boxes)
        for cuts in _cuts(quantized, levels[first].tolist())
    ]
    return np.concatenate(curves, axis=1)[:, inverse]


def centre_curves(score_map: ArrayLike, boxes: ArrayLike) -> NDArray[np.float64]:
    """`iou_curves` of the boxes around the centre (`centre_map`), which are found once.

    Args:
        score_map: (S, S); only its size is used.
        boxes: (N, 4) ground truth, N >= 1, in the map's pixels.
    """
    found, levels = _centre_boxes(len(np.asarray(score_map)))
    best = iou(found, boxes).max(axis=1)[levels]
    return np.stack([best, best])  # a square has one contour


@cache
def _centre_boxes(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Boxes (N, 4) of the centre's map, and which of them each threshold has, (1000,)."""
    scores = centre_map(side)
    boxes = [box_at(scores, threshold) for threshold in THRESHOLDS]
    found, levels = np.unique(np.array(boxes), axis=0, return_inverse=True)
    return found, levels.reshape(-1)


def _cuts(quantized: NDArray[np.uint8], levels: Sequence[int]) -> Iterator[list[Sequence[Contour]]]:
    """Contours of the mask above each level, in chunks of several levels.

    Every level is below the maximum, so that there is a contour.
    """
    cuts: list[Sequence[Contour]] = []
    count = 0
    spans = [_spans(quantized.max(axis=axis), levels) for axis in (1, 0)]
    for level, y, x in zip(levels, *spans, strict=True):
        # Only the bounding rectangle of the mask is searched. The level is a Python integer, so
        # the comparison stays in 8 bits.
        part = quantized[y[0] : y[1], x[0] : x[1]] > level
        cuts.append(find_contours(part, (x[0], y[0])))
        count += len(cuts[-1])
        if count > CHUNK:
            yield cuts
            cuts, count = [], 0
    if cuts:
        yield cuts


def _spans(highest: NDArray[np.uint8], levels: Sequence[int]) -> list[list[int]]:
    """First row (or column) above each level, and the one after the last."""
    above = highest > np.array(levels)[:, None]  # (levels, places)
    after = above.shape[1] - above[:, ::-1].argmax(axis=1)
    return np.stack([above.argmax(axis=1), after], axis=1).tolist()


def _best_overlaps(
    cuts: Sequence[Sequence[Contour]], size: Size, boxes: ArrayLike
) -> NDArray[np.float64]:
    """Best IoU of the largest contour, and of all contours, of each level: (2, levels)."""
    found, areas = measure_contours([contour for of_level in cuts for contour in of_level], size)
    best = iou(found, boxes).max(axis=1)
    counts = np.array([len(of_level) for of_level in cuts])
    starts = np.cumsum(counts) - counts
    largest = np.lexsort((-areas, np.repeat(np.arange(len(cuts)), counts)))[starts]
    return np.stack([best[largest], np.maximum.reduceat(best, starts)])
