"""Drawing: boxes and heat maps on images."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.evaluation.boxes import Box, quantize

Image = NDArray[np.uint8]  # (H, W, 3), RGB
Color = tuple[int, int, int]  # RGB

GREEN: Color = (40, 230, 60)
"""Ground truth."""
RED: Color = (255, 40, 50)
"""Prediction."""


def draw_box(image: Image, box: Box, color: Color, thickness: int = 2) -> Image:
    """Draw a box; its line lies inside it, so that a box at the image's edge shows whole.

    Args:
        image: (H, W, 3) uint8; left as it is.
        box: (x0, y0, x1, y1) in the image's pixels, corners included.
        color: in the image's order of channels.
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
    """Colour a score map (H, W) in [0, 1], 0 dark blue to 1 yellow: (H, W, 3) uint8, RGB.

    The colours (viridis) hold neither of the boxes' and grow brighter all the way, so that the
    order of the scores can be read from them.
    """
    bgr = cv2.applyColorMap(quantize(score_map), cv2.COLORMAP_VIRIDIS)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def blend(image: Image, heat: Image, opacity: float = 0.6) -> Image:
    """Lay a heat map over a grey version of its image, both (H, W, 3) uint8, RGB.

    Grey, so that every colour in the result speaks of the score. `opacity` is the heat map's
    share, in [0, 1].
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return cv2.addWeighted(heat, opacity, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), 1 - opacity, 0)
