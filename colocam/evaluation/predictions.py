"""Predictions of a localizer: class and box of each evaluated frame, without using its tag."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.data.loading.frame_batches import FrameBatch
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import Box, Size, box_at, boxes_at, threshold_or_default, unscale_box
from colocam.evaluation.evaluate import Outputs
from colocam.models.checkpoint import CheckpointInfo
from colocam.runtime.distribution import Ranks
from colocam.runtime.files import write_atomic


@dataclass(frozen=True)
class Prediction:
    """Predicted class and box of one frame.

    Attributes:
        place: index of the frame in the evaluated records.
        size: (width, height) of the original frame.
        label: the most probable class.
        probability: of that class, 0…1.
        box: x0, y0, x1, y1 in pixels of the original frame, corners included; None if the
            score map has no contour.
        score: mean of the score map inside the box, 0…1.
        all_boxes: boxes of all regions, the largest region first; at most `box` if only the largest
            region is requested.
        all_scores: of these boxes.
    """

    place: int
    size: Size
    label: int
    probability: float
    box: Box | None
    score: float
    all_boxes: tuple[Box, ...]
    all_scores: tuple[float, ...]


def probabilities(logits: ArrayLike) -> NDArray[np.floating]:
    """Softmax over the classes.

    Args:
        logits: (B, K).

    Returns:
        (B, K).
    """
    logits = np.asarray(logits)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def locate(
    score_map: NDArray[np.floating], threshold: float, size: Size, min_area: float | None = None
) -> tuple[tuple[Box, ...], tuple[float, ...]]:
    """Boxes of a score map in the original frame, and the means of the map inside them.

    Args:
        score_map: (H, W) in [0, 1].
        threshold: fraction of the map's maximum, in [0, 1].
        size: (width, height) of the original frame.
        min_area: smallest area of a region with a box, as a share of the frame, in [0, 1); None:
            the box of the largest region only.

    Returns:
        Boxes in pixels of the frame, corners included, that of the largest region first, and their
        scores; empty if the map has no contour.
    """
    if min_area is None:
        found = [box_at(score_map, threshold)]
    else:
        found = boxes_at(score_map, threshold, min_area)
    found = [box for box in found if _has_extent(box)] if _has_extent(found[0]) else []
    height, width = score_map.shape
    boxes = tuple(unscale_box(box, (width, height), size) for box in found)
    means = (score_map[y0 : y1 + 1, x0 : x1 + 1].mean() for x0, y0, x1, y1 in found)
    return boxes, tuple(map(float, means))


def _has_extent(box: Box) -> bool:
    return box[0] < box[2] and box[1] < box[3]


def best_box(boxes: Sequence[Box], scores: Sequence[float]) -> tuple[Box | None, float]:
    """The first box of `locate` and its score; (None, 0) if there is none."""
    return (boxes[0], scores[0]) if boxes else (None, 0.0)


class Predictions:
    """Accumulates predictions during an evaluation.

    Boxes use the threshold that is best on validation, 0.5 without one.

    Args:
        records: the evaluated frames.
        info: of the localizer's checkpoint.
        min_area: see `locate`.

    Attributes:
        kept: predictions of the frames that could be decoded; `share` sorts them by record.
    """

    def __init__(
        self, records: Sequence[BoxedFrame], info: CheckpointInfo, min_area: float | None = None
    ) -> None:
        self.records, self.classes = tuple(records), info.classes
        self.min_area = min_area
        self.threshold = threshold_or_default(info.threshold)
        self.places = {record.id: place for place, record in enumerate(self.records)}
        self.kept: list[Prediction] = []

    def collect(self, batch: FrameBatch, outputs: Outputs) -> None:
        """Adds a batch; the `on_batch` callback of `evaluate` for a localizer."""
        assert outputs.scores is not None
        for i, likely in enumerate(probabilities(outputs.logits)):
            label = int(likely.argmax())
            size = batch.sizes[i]
            boxes, scores = locate(outputs.scores[i], self.threshold, size, self.min_area)
            place, best = self.places[batch.records[i].id], best_box(boxes, scores)
            self.kept.append(
                Prediction(place, size, label, float(likely[label]), *best, boxes, scores)
            )

    def share(self, ranks: Ranks) -> None:
        """Gathers the predictions of all ranks, in the order of the records; a collective."""
        found = [one for of_rank in ranks.gather(self.kept) for one in of_rank]
        self.kept = sorted(found, key=lambda one: one.place)

    def as_records(self) -> list[dict[str, Any]]:
        """One JSON-serializable dictionary per frame, see `as_record`.

        `frame` is the index of the frame in its video, counted from 0; for frames that split files
        list as image files, their path relative to the video.
        """
        return [
            as_record(
                self.records[one.place].video,
                _frame_of(self.records[one.place]),
                self.classes[one.label],
                one,
                self.min_area is not None,
            )
            for one in self.kept
        ]


class FrameResult(Protocol):
    """Probability, box and score of a frame; see `Prediction`."""

    @property
    def probability(self) -> float:
        """Of the class, 0…1."""

    @property
    def box(self) -> Box | None:
        """In pixels of the original frame, or None."""

    @property
    def score(self) -> float:
        """Of the box, 0…1."""

    @property
    def all_boxes(self) -> tuple[Box, ...]:
        """Of all regions."""

    @property
    def all_scores(self) -> tuple[float, ...]:
        """Of `all_boxes`."""


def as_record(
    video: str, frame: int | str, class_name: str, result: FrameResult, every_box: bool = False
) -> dict[str, Any]:
    """One frame as a JSON-serializable dictionary: video, frame, class, probability, box, score.

    Args:
        video: its name.
        frame: number or file of the frame.
        class_name: of the result.
        result: of the frame.
        every_box: add all_boxes and all_scores.
    """
    record: dict[str, Any] = {
        "video": video,
        "frame": frame,
        "class": class_name,
        "probability": round(result.probability, 4),
        "box": None if result.box is None else [float(side) for side in result.box],
        "score": round(result.score, 4),
    }
    if every_box:
        record["all_boxes"] = [[float(side) for side in box] for box in result.all_boxes]
        record["all_scores"] = [round(score, 4) for score in result.all_scores]
    return record


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes predictions as a JSON list, one frame per line; the write is atomic.

    Raises:
        UserError: the file cannot be written.
    """
    write_records(path, predictions.as_records())


def write_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Writes the records of `as_record` as a JSON list, one per line; the write is atomic.

    Raises:
        UserError: the file cannot be written.
    """
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    # File names may be invalid Unicode: `backslashreplace` writes the same escapes as JSON.
    write_atomic(path, f"[\n{lines}\n]\n".encode(errors="backslashreplace"))


def _frame_of(record: BoxedFrame) -> int | str:
    if record.frames.name != record.id:  # one of several frames of its source
        return record.index
    return record.id.removeprefix(f"{record.video}/")
