"""What an overlay video shows of a frame: its box, its class, and if wanted its score map."""

import cv2
import numpy as np
from numpy.typing import NDArray

from colocam.localization.drawing import RED, Image, blend, draw_box, heat_map
from colocam.localization.inference import Localization

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKING, _INK = (20, 20, 20), (255, 255, 255)
_HEAT = 0.45  # share of the heat map; the rest is the frame in grey


def draw_result(frame: Image, result: Localization, heat: bool = False) -> Image:
    """A copy of the frame with its box, its class and the probability of that.

    The class stands over the box, inside it where there is no room, and in the frame's corner where
    there is no box. Lines and letters grow with the frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        result: what was found in it.
        heat: lay the score map over it, 0 dark blue to 1 yellow.
    """
    height, width = frame.shape[:2]
    picture = frame.copy()
    if heat:
        scores = np.asarray(result.score_map, np.float32)
        picture = blend(frame, heat_map(cv2.resize(scores, (width, height))), _HEAT)
    text = f"{result.class_name} {result.probability:.2f}"
    if result.box is None:
        return _label(picture, f"{text}, no box", 0, 0)
    picture = _label(picture, text, *result.box[:2])  # under the box's line
    return draw_box(picture, result.box, RED, max(2, round(min(height, width) / 200)))


def draw_missing(frame: Image) -> Image:
    """What stands in for a frame that cannot be decoded: a grey, dark copy of the one before it."""
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _label(grey // 3, "frame cannot be decoded", 0, 0)


def _label(picture: Image, text: str, left: int, bottom: int) -> Image:
    """White letters on a dark, translucent ground; drawn into the picture.

    OpenCV 4 shows a question mark for what is not ASCII.
    """
    height, width = picture.shape[:2]
    scale = max(0.4, min(height, width) / 800)
    thickness = max(1, round(1.2 * scale))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    if text_width > 0.9 * width:
        scale *= 0.9 * width / text_width
        (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    gap = max(2, text_height // 2)
    box_width, box_height = text_width + 2 * gap, text_height + 2 * gap
    left = max(0, min(left, width - box_width))
    top = bottom - box_height if bottom >= box_height else bottom
    top = max(0, min(top, height - box_height))
    ground: NDArray[np.uint8] = picture[top : top + box_height, left : left + box_width]
    ground[:] = cv2.addWeighted(ground, 0.3, np.full_like(ground, _BACKING), 0.7, 0)
    place = (left + gap, top + gap + text_height)
    return cv2.putText(picture, text, place, _FONT, scale, _INK, thickness, cv2.LINE_AA)
