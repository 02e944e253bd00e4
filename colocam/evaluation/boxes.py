"""Boxes of score maps by the MaxBoxAcc protocol, IoU, and scaling between sizes.

The protocol (Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR
2020) is that of the published CorLoc numbers, including its details: scores are truncated to 8
bits, thresholds are strict, a contour's box ends one pixel past its last pixel (unless it touches
the border of the map), and overlaps count pixels with both corners included.

A box is (x0, y0, x1, y1), corners included; a size is (width, height).
"""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Box = tuple[int, int, int, int]
Size = tuple[int, int]
Contour = NDArray[np.int32]  # (points, 1, 2), as OpenCV returns them

DEFAULT_THRESHOLD = 0.5
"""Threshold of a checkpoint whose validation frames had no boxes."""

MIN_AREA = 0.01
"""Smallest area of a region with a box of its own, as a share of the map (`region_boxes`)."""

NO_BOX: Box = (0, 0, 0, 0)
"""Box of a map without a pixel above the threshold: the corner pixel, as published."""


CENTRE_BOX = "centre box"
"""Name of the baseline without a model: a box around the centre of the frame, as large as is best
by the protocol (`centre_map`)."""


def centre_map(side: int) -> NDArray[np.float32]:
    """Map whose boxes are those around the centre: a pyramid, near 1 in the middle.

    At threshold τ, its box has about the size (1 − τ)·side. It is a baseline since objects are
    often in the middle of the frame (Choe et al., CVPR 2020, Section 5).

    Args:
        side: S.

    Returns:
        (S, S) in [0, 1].
    """
    distance = np.abs(np.arange(side, dtype=np.float32) - (side - 1) / 2) / (side / 2)
    return 1 - np.maximum(distance[:, None], distance)


def threshold_or_default(threshold: float | None) -> float:
    """The threshold that is best on validation, `DEFAULT_THRESHOLD` for None."""
    return DEFAULT_THRESHOLD if threshold is None else threshold


def quantize(score_map: ArrayLike) -> NDArray[np.uint8]:
    """Quantizes a score map to 8 bits by truncation, floor(255 S).

    Args:
        score_map: (H, W), floating point, clipped to [0, 1]. float32 and float64 are multiplied in
            their own precision, other types in float32.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: not floating point, not two-dimensional, empty, or NaN.
    """
    scores = np.asarray(score_map)
    if scores.ndim != 2 or scores.size == 0 or not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(
            f"score_map: floating point (H, W) needed, got {scores.dtype} {scores.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("score_map: contains NaN")
    if scores.dtype != np.float64:
        scores = scores.astype(np.float32)
    return (scores.clip(0, 1) * 255).astype(np.uint8)


def contour_boxes(mask: ArrayLike) -> list[Box]:
    """Boxes of all contours of a mask, outer contours and holes, by decreasing area.

    The area is `cv2.contourArea`, that of the polygon through the pixel centers: it includes holes,
    and is 0 for a line. Equal areas are in the order of OpenCV. A box is
    (x, y, min(x + w, W - 1), min(y + h, H - 1)) of the bounding rectangle.

    Args:
        mask: (H, W), non-zero inside.

    Returns:
        One box per contour; `[NO_BOX]` if the mask is empty.
    """
    mask = np.asarray(mask).astype(bool, copy=False)
    contours = find_contours(mask)
    if not contours:
        return [NO_BOX]
    boxes, areas = measure_contours(contours, (mask.shape[1], mask.shape[0]))
    largest_first = np.argsort(-areas, kind="stable")
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes[largest_first].tolist()]


def region_boxes(mask: ArrayLike, min_area: float = 0.0) -> list[Box]:
    """Boxes of the connected regions of a mask, by decreasing area.

    Pixels are connected to their 8 neighbours. The area of a region is that of its outer contour,
    see `contour_boxes`. The largest region is kept whatever its area: the first box is that of
    `largest_contour_box`.

    Args:
        mask: (H, W), non-zero inside.
        min_area: smallest area of the other regions, as a share of the H·W pixels.

    Returns:
        One box per region; `[NO_BOX]` if the mask is empty.
    """
    mask = np.asarray(mask).astype(bool, copy=False)
    image = np.ascontiguousarray(mask).view(np.uint8)
    contours, hierarchy = cv2.findContours(image, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [NO_BOX]
    parents = hierarchy.reshape(-1, 4)[:, 3]
    outer = [
        cast(Contour, one) for one, parent in zip(contours, parents, strict=True) if parent < 0
    ]
    boxes, areas = measure_contours(outer, (mask.shape[1], mask.shape[0]))
    largest_first = np.argsort(-areas, kind="stable")
    found = boxes[largest_first][areas[largest_first] >= 2 * min_area * mask.size].tolist()
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in found or boxes[largest_first[:1]].tolist()]


def find_contours(mask: NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> Sequence[Contour]:
    """All contours of a mask, outer contours and holes, in the order of OpenCV.

    Args:
        mask: (H, W).
        corner: (x, y) of its first pixel, if it is a crop of a larger map.
    """
    image = np.ascontiguousarray(mask).view(np.uint8)
    contours, _ = cv2.findContours(image, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
    return cast(Sequence[Contour], contours)


def measure_contours(
    contours: Sequence[Contour], size: Size
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Boxes and areas of contours, vectorized over the contours.

    Args:
        contours: N ≥ 1 contours of at least one point.
        size: (width, height) of the map.

    Returns:
        boxes (N, 4), see `contour_boxes`, and areas (N,): twice `cv2.contourArea`, integers.
    """
    x, y = np.concatenate(contours)[:, 0].T.copy()  # (P,) each
    lengths = np.fromiter(map(len, contours), np.intp, len(contours))
    ends = np.cumsum(lengths)
    starts, last = ends - lengths, ends - 1

    low = [np.minimum.reduceat(values, starts) for values in (x, y)]
    high = [np.maximum.reduceat(values, starts) + 1 for values in (x, y)]
    bounded = [np.minimum(end, side - 1) for end, side in zip(high, size, strict=True)]

    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    next_x[last], next_y[last] = x[starts], y[starts]  # contours are closed
    areas = np.abs(np.add.reduceat(x * next_y - next_x * y, starts, dtype=np.int32))
    return np.stack([*low, *bounded], axis=1), areas


def largest_contour_box(mask: ArrayLike) -> Box:
    """Box of the largest contour of a mask (H, W), see `contour_boxes`; `NO_BOX` if empty."""
    return contour_boxes(mask)[0]


def box_at(score_map: ArrayLike, threshold: float) -> Box:
    """Box of a score map at one threshold.

    It is the box of the largest contour of the pixels of the quantized map that are strictly above
    int(threshold * maximum).

    Args:
        score_map: (H, W), floating point in [0, 1].
        threshold: fraction of the map's maximum, in [0, 1].

    Returns:
        The box in pixels of the map, `NO_BOX` if no pixel is above the threshold.

    Raises:
        ValueError: `threshold` outside [0, 1], or invalid map (see `quantize`).
    """
    return largest_contour_box(_mask_at(score_map, threshold))


def boxes_at(score_map: ArrayLike, threshold: float, min_area: float = MIN_AREA) -> list[Box]:
    """Boxes of all large regions of a score map at one threshold, see `region_boxes`.

    Args:
        score_map: (H, W), floating point in [0, 1].
        threshold: fraction of the map's maximum, in [0, 1].
        min_area: smallest area of a region as a share of the map, in [0, 1).

    Returns:
        The boxes in pixels of the map, by decreasing area of their regions; the first is
        `box_at(score_map, threshold)`.

    Raises:
        ValueError: `threshold` or `min_area` out of range, or invalid map (see `quantize`).
    """
    if not 0 <= min_area < 1:
        raise ValueError(f"min_area: must be in [0, 1), got {min_area}")
    return region_boxes(_mask_at(score_map, threshold), min_area)


def _mask_at(score_map: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Pixels of the quantized map that are above the threshold."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: must be in [0, 1], got {threshold}")
    quantized = quantize(score_map)
    return quantized > int(threshold * int(quantized.max()))


def iou(boxes_a: ArrayLike, boxes_b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes, counted in pixels, corners included.

    Args:
        boxes_a: (N, 4).
        boxes_b: (M, 4).

    Returns:
        (N, M), in [0, 1].
    """
    a = np.asarray(boxes_a, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(boxes_b, dtype=np.float64).reshape(1, -1, 4)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low + 1).clip(min=0).prod(axis=-1)  # (N, M)
    area_a = (a[..., 2:] - a[..., :2] + 1).prod(axis=-1)  # (N, 1)
    area_b = (b[..., 2:] - b[..., :2] + 1).prod(axis=-1)  # (1, M)
    return shared / (area_a + area_b - shared)


def scale_box(box: Sequence[float], from_size: Size, to_size: Size) -> Box:
    """Scales a ground-truth box from its image to a map, truncated to integers as published.

    Args:
        box: in pixels of the image.
        from_size: (width, height) of the image.
        to_size: (width, height) of the map.
    """
    # Multiplication first: the division is exact if the quotient is an integer.
    x0, x1 = (int(x * to_size[0] / from_size[0]) for x in box[::2])
    y0, y1 = (int(y * to_size[1] / from_size[1]) for y in box[1::2])
    return x0, y0, x1, y1


def unscale_box(box: Box, from_size: Size, to_size: Size) -> Box:
    """Scales a predicted box from its map to the pixels of the image.

    The result covers the image pixels that `scale_box` maps into the box: the box of the full map
    becomes that of the full image, and if the image is larger than the map, `scale_box` inverts it.
    If the image is smaller and no such pixel exists, the nearest pixel is used.

    Args:
        box: in pixels of the map, inside the map.
        from_size: (width, height) of the map.
        to_size: (width, height) of the image.
    """
    x0, x1 = _unscale_interval(box[0], box[2], from_size[0], to_size[0])
    y0, y1 = _unscale_interval(box[1], box[3], from_size[1], to_size[1])
    return x0, y0, x1, y1


def _unscale_interval(low: int, high: int, old: int, new: int) -> tuple[int, int]:
    first = min(_ceil_divide(low * new, old), new - 1)
    last = _ceil_divide((high + 1) * new, old) - 1
    return first, max(first, last)


def _ceil_divide(a: int, b: int) -> int:
    return -(-a // b)
