"""Evaluation: boxes from score maps, and CorLoc."""

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

__all__ = [
    "NO_BOX",
    "THRESHOLDS",
    "Box",
    "CorLoc",
    "box_at",
    "contour_boxes",
    "iou",
    "largest_contour_box",
    "quantize",
    "scale_box",
    "unscale_box",
]
