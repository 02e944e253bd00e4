"""What a localizer says of each frame of an evaluation: class and box, as of a frame untagged."""

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
from colocam.runtime.files import write_atomic


@dataclass(frozen=True)
class Prediction:
    """One frame's class and box.

    Attributes:
        place: of the frame among the evaluated records.
        size: (width, height) of the original frame.
        label: the most probable class.
        probability: of that class, 0…1.
        box: x0, y0, x1, y1 in pixels of the original frame, corners included; None where the
            score map has no contour.
        score: mean of the score map within the box, 0…1.
    """

    place: int
    size: Size
    label: int
    probability: float
    box: Box | None
    score: float


def probabilities(logits: ArrayLike) -> NDArray[np.floating]:
    """Softmax over the classes: logits (B, K) to (B, K)."""
    logits = np.asarray(logits)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def locate(
    score_map: NDArray[np.floating], threshold: float, size: Size
) -> tuple[Box | None, float]:
    """Box of a score map in the original frame, and the map's mean within it.

    Args:
        score_map: (H, W) in [0, 1].
        threshold: share of the map's maximum, in [0, 1].
        size: (width, height) of the original frame.

    Returns:
        The box in pixels of the frame, corners included, and its score; (None, 0) where the map
        has no contour.
    """
    x0, y0, x1, y1 = box_at(score_map, threshold)
    if x1 <= x0 or y1 <= y0:
        return None, 0.0
    inside = score_map[y0 : y1 + 1, x0 : x1 + 1]
    height, width = score_map.shape
    return unscale_box((x0, y0, x1, y1), (width, height), size), float(inside.mean())


class Predictions:
    """Collects predictions while an evaluation runs.

    Boxes are taken at the threshold that was best on validation, at 0.5 where there was none.

    Args:
        records: the frames that will be evaluated.
        info: of the localizer's checkpoint.

    Attributes:
        kept: of the frames that could be decoded, in the order of the records once `share` was
            called.
    """

    def __init__(self, records: Sequence[BoxedFrame], info: CheckpointInfo) -> None:
        self.records, self.classes = tuple(records), info.classes
        self.threshold = threshold_or_default(info.threshold)
        self.places = {record.id: place for place, record in enumerate(self.records)}
        self.kept: list[Prediction] = []

    def collect(self, batch: FrameBatch, outputs: Outputs) -> None:
        """For `evaluate(on_batch=…)` of a localizer."""
        for i, likely in enumerate(probabilities(outputs.logits)):
            label = int(likely.argmax())
            box, score = locate(outputs.scores[i], self.threshold, batch.sizes[i])
            place = self.places[batch.records[i].id]
            self.kept.append(
                Prediction(place, batch.sizes[i], label, float(likely[label]), box, score)
            )

    def share(self, ranks: Ranks) -> None:
        """Brings those of all ranks together, in the order of the records; a collective."""
        found = [one for of_rank in ranks.gather(self.kept) for one in of_rank]
        self.kept = sorted(found, key=lambda one: one.place)

    def as_records(self) -> list[dict[str, Any]]:
        """One dictionary a frame: video, frame, class, probability, box, score, ready for JSON.

        `frame` is its number in the video, counted from 0; where each frame of the data is a file
        that the split files name, its path below the video.
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


class Found(Protocol):
    """What a record tells of a frame beside its class; see `Prediction`."""

    probability: float
    box: Box | None
    score: float


def as_record(video: str, frame: int | str, class_name: str, found: Found) -> dict[str, Any]:
    """One frame as a dictionary ready for JSON: video, frame, class, probability, box, score."""
    return {
        "video": video,
        "frame": frame,
        "class": class_name,
        "probability": round(found.probability, 4),
        "box": None if found.box is None else [float(side) for side in found.box],
        "score": round(found.score, 4),
    }


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes predictions as a JSON list, one frame a line.

    Raises:
        UserError: the file cannot be written.
    """
    write_records(path, predictions.as_records())


def write_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Writes what `as_record` gave as a JSON list, one frame a line.

    Raises:
        UserError: the file cannot be written.
    """
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    # The bytes of a file's name may be no text: JSON and Python escape them alike.
    write_atomic(path, f"[\n{lines}\n]\n".encode(errors="backslashreplace"))


def _frame_of(record: BoxedFrame) -> int | str:
    if record.frames.name != record.id:  # a frame among others of its video
        return record.index
    return record.id.removeprefix(f"{record.video}/")
