"""Predictions in the COCO results format, and the evaluated frames as its ground truth.

Format: https://cocodataset.org/#format-data and #format-results. A bbox is [x, y, width, height]
in pixels of the original frame; its right edge is x + width, so a box with corners included is one
pixel wider than the difference of its corners. All ids count from 1: readers take an annotation's
id 0 for "none".
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colocam.evaluation.boxes import Size
from colocam.evaluation.predictions import Predictions
from colocam.runtime.files import write_atomic


def results(predictions: Predictions) -> list[dict[str, Any]]:
    """One entry a frame with a box: image_id, category_id (the class found), bbox, score."""
    return [
        {
            "image_id": one.place + 1,
            "category_id": one.label + 1,
            "bbox": _bbox(one.box, one.size),
            "score": round(one.score, 4),
        }
        for one in predictions.kept
        if one.box is not None
    ]


def ground_truth(predictions: Predictions) -> dict[str, Any]:
    """The frames that were evaluated, their boxes, and the classes.

    A frame that could not be decoded is not among the images; one without boxes is, without
    annotations.
    """
    images, annotations = [], []
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
    """Where the ground truth of a results file stands: "found.json" → "found.gt.json"."""
    return path.with_suffix(".gt.json")


def write_coco(path: Path, predictions: Predictions) -> None:
    """Writes the results to `path`, and the ground truth beside it (`ground_truth_path`).

    Raises:
        UserError: a file cannot be written.
    """
    contents = {ground_truth_path(path): ground_truth(predictions), path: results(predictions)}
    for file, content in contents.items():
        write_atomic(
            file, (json.dumps(content, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        )


def _bbox(box: Sequence[float], size: Size) -> list[float]:
    """[x, y, width, height] of a box with corners included, cut to the image, at least a pixel."""
    (x, width), (y, height) = (
        _extent(low, high, limit) for low, high, limit in zip(box[:2], box[2:], size, strict=True)
    )
    return [x, y, width, height]


def _extent(low: float, high: float, limit: int) -> tuple[float, float]:
    start = min(max(float(low), 0.0), limit - 1.0)
    return start, max(min(float(high) + 1, float(limit)) - start, 1.0)
