"""Evaluation: boxes from score maps, CorLoc and further metrics, predictions.

- `boxes`: boxes of score maps by the MaxBoxAcc protocol, IoU, scaling
- `iou_curves`: IoU of a score map's boxes at all thresholds
- `corloc`: CorLoc and further metrics, by every protocol
- `breakdown`: CorLoc by video, by object size and by threshold
- `contour_workers`: processes that share the contour detection
- `evaluate`: runs a model on frames and collects CorLoc of seed CAM and localizer
- `predictions`: class and box of each frame as JSON records
- `coco`: the predictions in the COCO format
- `consistency`: temporal consistency of boxes
- `emptiness`: score for frames without an object
- `metric_names`: metric names that the training log and the report share
"""

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
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.iou_curves import THRESHOLDS

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
