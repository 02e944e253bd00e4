"""Evaluation: boxes from score maps, CorLoc, and how both are shown."""

from colocam.evaluation.boxes import (
    NO_BOX,
    Box,
    box_at,
    contour_boxes,
    iou,
    largest_contour_box,
    quantize,
    scale_box,
    unscale_box,
)
from colocam.evaluation.corloc import THRESHOLDS, CorLoc
from colocam.evaluation.pictures import Example, contact_sheet

__all__ = [
    "NO_BOX",
    "THRESHOLDS",
    "Box",
    "CorLoc",
    "Example",
    "box_at",
    "contact_sheet",
    "contour_boxes",
    "iou",
    "largest_contour_box",
    "quantize",
    "scale_box",
    "unscale_box",
]
