"""Predictions of a localizer: class and box of each evaluated frame, without using its tag."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from colocam.data.loading.loader import FrameBatch
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import Box, Size, box_at, threshold_or_default, unscale_box
from colocam.evaluation.evaluate import Outputs
from colocam.models.checkpoint import CheckpointInfo
from colocam.runtime.distribution import Ranks
from colocam.runtime.files import write_whole


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
    """

    place: int
    size: Size
    label: int
    probability: float
    box: Box | None
    score: float


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
    score_map: NDArray[np.floating], threshold: float, size: Size
) -> tuple[Box | None, float]:
    """Box of a score map in the original frame, and the mean of the map inside it.

    Args:
        score_map: (H, W) in [0, 1].
        threshold: fraction of the map's maximum, in [0, 1].
        size: (width, height) of the original frame.

    Returns:
        The box in pixels of the frame, corners included, and its score; (None, 0) if the map has
        no contour.
    """
    x0, y0, x1, y1 = box_at(score_map, threshold)
    if x1 <= x0 or y1 <= y0:
        return None, 0.0
    inside = score_map[y0 : y1 + 1, x0 : x1 + 1]
    height, width = score_map.shape
    return unscale_box((x0, y0, x1, y1), (width, height), size), float(inside.mean())


class Predictions:
    """Accumulates predictions during an evaluation.

    Boxes use the threshold that is best on validation, 0.5 without one.

    Args:
        records: the evaluated frames.
        info: of the localizer's checkpoint.

    Attributes:
        kept: predictions of the frames that could be decoded; `share` sorts them by record.
    """

    def __init__(self, records: Sequence[BoxedFrame], info: CheckpointInfo) -> None:
        self.records, self.classes = tuple(records), info.classes
        self.threshold = threshold_or_default(info.threshold)
        self.places = {record.id: place for place, record in enumerate(self.records)}
        self.kept: list[Prediction] = []

    def collect(self, batch: FrameBatch, outputs: Outputs) -> None:
        """Adds a batch; the `on_batch` callback of `evaluate` for a localizer."""
        assert outputs.scores is not None
        for i, likely in enumerate(probabilities(outputs.logits)):
            label = int(likely.argmax())
            box, score = locate(outputs.scores[i], self.threshold, batch.sizes[i])
            place = self.places[batch.records[i].id]
            self.kept.append(
                Prediction(place, batch.sizes[i], label, float(likely[label]), box, score)
            )

    def share(self, ranks: Ranks) -> None:
        """Gathers the predictions of all ranks, in the order of the records; a collective."""
        found = [one for of_rank in ranks.gather(self.kept) for one in of_rank]
        self.kept = sorted(found, key=lambda one: one.place)

    def as_records(self) -> list[dict[str, Any]]:
        """One JSON-serializable dictionary per frame: video, frame, class, probability, box, score.

        `frame` is the index of the frame in its video, counted from 0; for frames that split files
        list as image files, their path relative to the video.
        """
        return [
            as_record(
                self.records[one.place].video,
                _frame_of(self.records[one.place]),
                self.classes[one.label],
                one,
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


def as_record(video: str, frame: int | str, class_name: str, result: FrameResult) -> dict[str, Any]:
    """One frame as a JSON-serializable dictionary: video, frame, class, probability, box, score."""
    return {
        "video": video,
        "frame": frame,
        "class": class_name,
        "probability": round(result.probability, 4),
        "box": None if result.box is None else [float(side) for side in result.box],
        "score": round(result.score, 4),
    }


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
    write_whole(path, f"[\n{lines}\n]\n".encode(errors="backslashreplace"))


def _frame_of(record: BoxedFrame) -> int | str:
    if record.frames.name != record.id:  # one of several frames of its source
        return record.index
    return record.id.removeprefix(f"{record.video}/")
