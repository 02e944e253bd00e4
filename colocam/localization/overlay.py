"""Overlay frames: a frame with its boxes, its class and, on request, its score map drawn on it."""

from collections.abc import Sequence

import cv2
import numpy as np

from colocam.localization.drawing import RED, Image, blend, draw_box, heat_map, track_color
from colocam.localization.inference import Localization

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKGROUND, _INK = (20, 20, 20), (255, 255, 255)
_HEAT_OPACITY = 0.45  # the rest is the gray frame


def draw_result(
    frame: Image, result: Localization, heat: bool = False, tracks: Sequence[int] | None = None
) -> Image:
    """A copy of the frame with its box, its class and the probability of the class.

    With tracks it has all boxes, each in the color of its track and with the number of it.

    The class is written above the box, inside the box if there is no space above it, and in the
    corner of the frame if there is no box. Line width and font size scale with the frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        result: localization of the frame.
        heat: blend the score map over the frame, from dark blue (0) to yellow (1).
        tracks: numbers of the tracks of `result.all_boxes`; None: only `result.box` is drawn.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = frame.shape[:2]
    picture = frame.copy()
    if heat:
        scores = np.asarray(result.score_map, np.float32)
        picture = blend(frame, heat_map(cv2.resize(scores, (width, height))), _HEAT_OPACITY)
    text = f"{result.class_name} {result.probability:.2f}"
    if result.box is None:
        _draw_label(picture, f"{text}, no box", 0, 0)
        return picture
    boxes, texts, colors = [result.box], [text], [RED]
    if tracks is not None:
        boxes, colors = list(result.all_boxes), [track_color(number) for number in tracks]
        texts = [f"{text} #{tracks[0]}", *(f"#{number}" for number in tracks[1:])]
    for box, label in reversed(list(zip(boxes, texts, strict=True))):  # the largest on top
        _draw_label(picture, label, *box[:2])
    for box, color in zip(boxes, colors, strict=True):  # after the labels: boxes are not covered
        picture = draw_box(picture, box, color, max(2, round(min(height, width) / 200)))
    return picture


def draw_missing(frame: Image) -> Image:
    """The picture of a frame that cannot be decoded: a dark gray copy of the frame before it.

    Args:
        frame: (H, W, 3) uint8 RGB, the frame before it.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    gray = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture = np.asarray(gray, np.uint8) // 3
    _draw_label(picture, "frame cannot be decoded", 0, 0)
    return picture


def _draw_label(picture: Image, text: str, left: int, bottom: int) -> None:
    """Draws white text on a dark translucent background into the picture.

    OpenCV 4 draws a question mark for every character outside of ASCII.
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
    background = picture[top : top + box_height, left : left + box_width]
    dark = np.full_like(background, _BACKGROUND)
    background[:] = cv2.addWeighted(background, 0.3, dark, 0.7, 0)
    origin = (left + gap, top + gap + text_height)
    cv2.putText(picture, text, origin, _FONT, scale, _INK, thickness, cv2.LINE_AA)
