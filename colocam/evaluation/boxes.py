"""Boxes from score maps, and boxes between sizes.

The box protocol is that of MaxBoxAcc (Choe et al., "Evaluating Weakly Supervised Object
Localization Methods Right", CVPR 2020), which the published CorLoc numbers use. Its oddities are
kept on purpose, since a number is comparable only with them: scores are truncated to 8 bits, a
threshold is a strict one, a contour's box ends one pixel past its last pixel (unless it meets the
edge of the map), and overlaps count pixels with both corners included.

Everywhere a box is (x0, y0, x1, y1), corners included, and a size is (width, height).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Box = tuple[int, int, int, int]
Size = tuple[int, int]
Contour = NDArray[np.int32]  # (points, 1, 2), as OpenCV gives them

DEFAULT_THRESHOLD = 0.5
"""For boxes where validation had none to choose a threshold by."""

NO_BOX: Box = (0, 0, 0, 0)
"""The box of a map in which no pixel passes the threshold: the corner pixel, as published."""


def threshold_or_default(threshold: float | None) -> float:
    """The threshold that was best on validation, `DEFAULT_THRESHOLD` where there was none."""
    return DEFAULT_THRESHOLD if threshold is None else threshold


def quantize(score_map: ArrayLike) -> NDArray[np.uint8]:
    """Bring a score map to 8 bits by truncation, floor(255 S).

    Args:
        score_map: (H, W), floating point; values outside [0, 1] are clipped first. float32 and
            float64 are multiplied in their own precision, others in float32.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: not a floating-point map of two non-empty dimensions, or it holds a NaN.
    """
    scores = np.asarray(score_map)
    if scores.ndim != 2 or scores.size == 0 or not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(
            f"score_map: floating point (H, W) needed, got {scores.dtype} {scores.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("score_map: holds NaN")
    if scores.dtype != np.float64:
        scores = scores.astype(np.float32)
    return (scores.clip(0, 1) * 255).astype(np.uint8)


def contour_boxes(mask: ArrayLike) -> list[Box]:
    """Boxes of all contours of a mask, outer ones and holes, the largest contour's first.

    Size is `cv2.contourArea`, the area inside the polygon through the pixels' centres: a large
    ring counts with its hole, a line counts nothing. Among equals the first that OpenCV finds
    goes first. A box is (x, y, min(x + w, W - 1), min(y + h, H - 1)) of the bounding rectangle.

    Args:
        mask: (H, W), non-zero inside.

    Returns:
        One box a contour; `[NO_BOX]` if the mask is empty.
    """
    mask = np.asarray(mask).astype(bool, copy=False)
    contours = find_contours(mask)
    if not contours:
        return [NO_BOX]
    boxes, areas = measure_contours(contours, (mask.shape[1], mask.shape[0]))
    largest_first = np.argsort(-areas, kind="stable")
    return [tuple(box) for box in boxes[largest_first].tolist()]


def find_contours(mask: NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> Sequence[Contour]:
    """All contours of a mask, outer ones and holes, in OpenCV's order.

    Args:
        mask: (H, W).
        corner: (x, y) that its first pixel has in the map, if it is a part of one.
    """
    image = np.ascontiguousarray(mask).view(np.uint8)
    contours, _ = cv2.findContours(image, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
    return contours


def measure_contours(
    contours: Sequence[Contour], size: Size
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Boxes and areas of contours, all at once: OpenCV measures them one by one.

    Args:
        contours: N ≥ 1 of them, at least a point each.
        size: (width, height) of the map.

    Returns:
        boxes (N, 4), see `contour_boxes`, and areas (N,): twice `cv2.contourArea`, whole numbers.
    """
    x, y = np.concatenate(contours)[:, 0].T.copy()  # (P,) each
    lengths = np.fromiter(map(len, contours), np.intp, len(contours))
    ends = np.cumsum(lengths)
    starts, last = ends - lengths, ends - 1

    low = [np.minimum.reduceat(values, starts) for values in (x, y)]
    high = [np.maximum.reduceat(values, starts) + 1 for values in (x, y)]
    bounded = [np.minimum(end, side - 1) for end, side in zip(high, size, strict=True)]

    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    next_x[last], next_y[last] = x[starts], y[starts]  # each contour is closed
    areas = np.abs(np.add.reduceat(x * next_y - next_x * y, starts, dtype=np.int32))
    return np.stack([*low, *bounded], axis=1), areas


def largest_contour_box(mask: ArrayLike) -> Box:
    """Box of the largest contour of a mask (H, W), see `contour_boxes`; `NO_BOX` if empty."""
    return contour_boxes(mask)[0]


def box_at(score_map: ArrayLike, threshold: float) -> Box:
    """Box of a score map at one threshold.

    The map is quantized; pixels strictly above int(threshold * its maximum) are kept, and the box
    of their largest contour is returned, in the map's pixels.

    Args:
        score_map: (H, W), floating point in [0, 1].
        threshold: share of the map's maximum, in [0, 1].

    Returns:
        The box, `NO_BOX` where nothing passes.

    Raises:
        ValueError: `threshold` outside [0, 1], or a map that `quantize` refuses.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: must lie in [0, 1], got {threshold}")
    quantized = quantize(score_map)
    return largest_contour_box(quantized > int(threshold * int(quantized.max())))


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
    """Scale a ground-truth box from its image to a map, truncated to integers as published.

    Args:
        box: in pixels of the image.
        from_size: (width, height) of the image.
        to_size: (width, height) of the map.
    """
    # Multiplied before it is divided, so that a quotient that is whole stays whole.
    x0, x1 = (int(x * to_size[0] / from_size[0]) for x in box[::2])
    y0, y1 = (int(y * to_size[1] / from_size[1]) for y in box[1::2])
    return x0, y0, x1, y1


def unscale_box(box: Box, from_size: Size, to_size: Size) -> Box:
    """Bring a predicted box from its map to the pixels of the image.

    The box of those image pixels that `scale_box` takes into the map's box: the whole map becomes
    the whole image, and where the image is the larger, `scale_box` leads back to the same box.
    Where the image is smaller and no such pixel exists, the nearest one stands in.

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
