"""COCO format: predictions as results, and the evaluated frames as ground truth.

Format: https://cocodataset.org/#format-data and #format-results. A bbox is [x, y, width, height]
in pixels of the original frame; its right edge is x + width, so a box with corners included is one
pixel wider than the difference of its corners. All ids start at 1, since readers treat an
annotation id of 0 as missing.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colocam.evaluation.boxes import Size
from colocam.evaluation.predictions import Predictions
from colocam.runtime.files import write_whole


def results(predictions: Predictions) -> list[dict[str, Any]]:
    """One entry per frame with a predicted box: image_id, category_id (predicted), bbox, score."""
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
        write_whole(
            file, (json.dumps(content, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        )


def _bbox(box: Sequence[float], size: Size) -> list[float]:
    """[x, y, width, height] of a box, clipped to the image, at least one pixel."""
    (x, width), (y, height) = (
        _extent(low, high, limit) for low, high, limit in zip(box[:2], box[2:], size, strict=True)
    )
    return [x, y, width, height]


def _extent(low: float, high: float, limit: int) -> tuple[float, float]:
    start = min(max(float(low), 0.0), limit - 1.0)
    return start, max(min(float(high) + 1, float(limit)) - start, 1.0)
