"""Drawing: boxes and heat maps on images."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.evaluation.boxes import Box, quantize

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

Color = tuple[int, int, int]
"""Red, green, blue, 0…255."""

GREEN: Color = (40, 230, 60)
"""Color of ground-truth boxes."""

RED: Color = (255, 40, 50)
"""Color of predicted boxes."""

TRACK_COLORS: tuple[Color, ...] = (
    RED, (60, 160, 255), (255, 200, 0), (200, 90, 255), (0, 220, 200),
    (255, 130, 30), (255, 120, 200), (160, 230, 60), (120, 120, 255), (240, 240, 240),
)  # fmt: skip
"""Colors of the boxes of tracks, in turn."""


def track_color(number: int) -> Color:
    """Color of a track: the first has that of predicted boxes, and after the last they repeat.

    Args:
        number: of the track, from 1.
    """
    return TRACK_COLORS[(number - 1) % len(TRACK_COLORS)]


def draw_box(image: Image, box: Box, color: Color, thickness: int = 2) -> Image:
    """Draws a box; the line is inside the box, so that it is visible at the image's border too.

    Args:
        image: (H, W, 3) uint8; not modified.
        box: (x0, y0, x1, y1) in pixels of the image, corners included.
        color: in the channel order of the image.
        thickness: of the line, in pixels.

    Returns:
        A new image.
    """
    drawn = np.ascontiguousarray(image).copy()
    x0, y0, x1, y1 = (int(corner) for corner in box)
    for inset in range(min(thickness, (min(x1 - x0, y1 - y0) + 2) // 2)):
        cv2.rectangle(drawn, (x0 + inset, y0 + inset), (x1 - inset, y1 - inset), color, 1)
    return drawn


def heat_map(score_map: ArrayLike) -> Image:
    """Heat map of a score map: viridis, from dark blue (0) to yellow (1).

    Viridis has neither color of the boxes, and its brightness increases with the score.

    Args:
        score_map: (H, W) floating point in [0, 1].

    Returns:
        (H, W, 3) uint8, RGB.
    """
    bgr = cv2.applyColorMap(quantize(score_map), cv2.COLORMAP_VIRIDIS)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def blend(image: Image, heat: Image, opacity: float = 0.6) -> Image:
    """Blends a heat map with the gray version of its image: every color shows the score only.

    Args:
        image: (H, W, 3) uint8, RGB.
        heat: heat map of the same shape.
        opacity: weight of the heat map, in [0, 1].

    Returns:
        (H, W, 3) uint8, RGB.
    """
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    gray = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(heat, opacity, gray, 1 - opacity, 0), np.uint8)
