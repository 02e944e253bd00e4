"""COCO format: predictions as results, the evaluated frames as ground truth, and AP50 of the two.

Format: https://cocodataset.org/#format-data and #format-results. A bbox is [x, y, width, height]
in pixels of the original frame; its right edge is x + width, so a box with corners included is one
pixel wider than the difference of its corners. All ids start at 1, since readers treat an
annotation id of 0 as missing.
"""

import contextlib
import importlib.util
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colocam.evaluation.boxes import Size, iou
from colocam.evaluation.predictions import Prediction, Predictions
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_atomic


def results(predictions: Predictions, boxes: int | None = None) -> list[dict[str, Any]]:
    """One entry per predicted box: image_id, category_id (predicted), bbox, score.

    Args:
        predictions: of the frames.
        boxes: largest number of boxes per frame, that of the largest region first; None: all.
    """
    return [
        {
            "image_id": one.place + 1,
            "category_id": one.label + 1,
            "bbox": _bbox(box, one.size),
            "score": round(score, 4),
        }
        for one in predictions.kept
        for box, score in list(zip(one.all_boxes, one.all_scores, strict=True))[:boxes]
    ]


def ground_truth(predictions: Predictions) -> dict[str, Any]:
    """The evaluated frames, their ground-truth boxes and the classes.

    Frames that could not be decoded are skipped; frames without boxes have no annotations.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for one in predictions.kept:
        record, (width, height) = predictions.records[one.place], one.size
        image = {"id": one.place + 1, "file_name": record.id, "width": width, "height": height}
        images.append(image)
        for box in record.boxes:
            bbox = _bbox(box, one.size)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": record.label + 1,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(predictions.classes, start=1)]
    return {
        "info": {"description": "frames evaluated by colocam"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def ground_truth_path(path: Path) -> Path:
    """Path of the ground truth of a results file: "found.json" → "found.gt.json"."""
    return path.with_suffix(".gt.json")


def write_coco(path: Path, predictions: Predictions) -> None:
    """Writes the results to `path` and the ground truth to `ground_truth_path(path)`.

    Raises:
        UserError: a file cannot be written.
    """
    contents = {ground_truth_path(path): ground_truth(predictions), path: results(predictions)}
    for file, content in contents.items():
        write_atomic(
            file, (json.dumps(content, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        )


def require_pycocotools() -> None:
    """Checks that pycocotools is installed.

    Raises:
        UserError: it is missing; the message names the package to install.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise UserError(
            "--boxes all: pycocotools is not installed and is needed for AP50: pip install "
            "pycocotools (or this package with its extra coco)"
        )


def detection_metrics(
    predictions: Predictions, boxes: int | None = None
) -> dict[str, float | None]:
    """Metrics of several boxes per frame, at the threshold of the predictions and IoU 0.5.

    Args:
        predictions: of frames, at least one.
        boxes: largest number of boxes per frame, that of the largest region first; None: all.

    Returns:
        Numbers in %, `boxes_per_frame` aside; None where no frame has ground truth:

        - ap50: COCO's AP at IoU 0.5, mean over classes; boxes have the predicted class.
        - ap50_class_agnostic: the same as if there were one class.
        - corloc: frames with a box that overlaps any of the ground-truth boxes, mean over classes.
        - recall, recall_several: ground-truth boxes that a box of their frame overlaps, over all
          frames, and over those with several ground-truth boxes.
        - boxes_per_frame: mean number of predicted boxes.
    """
    truth, found = ground_truth(predictions), results(predictions, boxes)
    records = [predictions.records[one.place] for one in predictions.kept]
    hits = [
        _hits(one, record.boxes, boxes)
        for one, record in zip(predictions.kept, records, strict=True)
    ]
    by_class: dict[int, list[bool]] = {}
    for record, of_frame in zip(records, hits, strict=True):
        if of_frame:
            by_class.setdefault(record.label, []).append(any(of_frame))
    return {
        "ap50": _average_precision(truth, found, agnostic=False),
        "ap50_class_agnostic": _average_precision(truth, found, agnostic=True),
        "corloc": _percent([float(np.mean(of_class)) for of_class in by_class.values()]),
        "recall": _percent([hit for of_frame in hits for hit in of_frame]),
        "recall_several": _percent(
            [hit for of_frame in hits if len(of_frame) > 1 for hit in of_frame]
        ),
        "boxes_per_frame": len(found) / len(predictions.kept),
    }


def _hits(one: Prediction, truth: Sequence[Sequence[float]], boxes: int | None) -> list[bool]:
    """Whether each ground-truth box of a frame is overlapped by one of the predicted boxes."""
    found = one.all_boxes[:boxes]
    if not found or not truth:
        return [False] * len(truth)
    return [bool(best >= 0.5) for best in iou(truth, found).max(axis=1)]


def _percent(values: Sequence[float]) -> float | None:
    return 100 * float(np.mean(values)) if values else None


def _average_precision(
    truth: dict[str, Any], found: list[dict[str, Any]], agnostic: bool
) -> float | None:
    """AP at IoU 0.5 in %; None without ground truth."""
    from pycocotools.coco import COCO  # an optional dependency
    from pycocotools.cocoeval import COCOeval

    if not truth["annotations"]:
        return None
    if not found:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(found), "bbox")
        evaluation.params.useCats = int(not agnostic)
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.evaluate()
        evaluation.accumulate()
    # (IoU, recall, class, area range, largest number of boxes); -1: a class without ground truth
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    return _percent(precision[precision > -1].tolist())


def _bbox(box: Sequence[float], size: Size) -> list[float]:
    """[x, y, width, height] of a box, clipped to the image, at least one pixel."""
    (x, width), (y, height) = (
        _extent(low, high, limit) for low, high, limit in zip(box[:2], box[2:], size, strict=True)
    )
    return [x, y, width, height]


def _extent(low: float, high: float, limit: int) -> tuple[float, float]:
    start = min(max(float(low), 0.0), limit - 1.0)
    return start, max(min(float(high) + 1, float(limit)) - start, 1.0)
