"""Example frames of a report: their selection, and the model's maps and boxes for them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch

from colocam.data.loading.frame_batches import FrameBatch
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import box_at, scale_box, threshold_or_default
from colocam.evaluation.evaluate import Outputs, evaluate, seed_cam_of
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.postprocessing import NO_POSTPROCESSING, Postprocessing
from colocam.report.pictures import Example

ExampleMaker: TypeAlias = Callable[[Sequence[BoxedFrame]], Mapping[str, Example]]
"""`make_examples` with everything but the records bound."""


def spread(records: Sequence[BoxedFrame], count: int) -> list[BoxedFrame]:
    """At most `count` of the records, evenly spaced."""
    places = np.linspace(0, max(0, len(records) - 1), min(count, len(records)))
    return [records[place] for place in places.round().astype(int)]


def by_overlap(
    records: Sequence[BoxedFrame], overlaps: Sequence[float | None], count: int
) -> dict[str, list[BoxedFrame]]:
    """The "best", "median" and "worst" frames by IoU: disjoint groups, varied in their videos.

    Args:
        records: evaluated frames.
        overlaps: IoU of each frame; None for frames without boxes, which are not selected.
        count: largest size of a group; smaller if there are fewer than three times as many frames.

    Returns:
        Groups of records: "best" by decreasing IoU, "worst" by increasing IoU, "median" by distance
        from the median rank. Empty if no frame has boxes.
    """
    overlap_of = {place: value for place, value in enumerate(overlaps) if value is not None}
    rising = sorted(overlap_of, key=lambda place: overlap_of[place])
    middle = sorted(range(len(rising)), key=lambda rank: abs(rank - (len(rising) - 1) / 2))
    orders = {
        "best": rising[::-1],
        "worst": rising,
        "median": [rising[rank] for rank in middle],
    }
    count = min(count, len(rising) // 3) or min(1, len(rising))
    chosen: dict[str, list[BoxedFrame]] = {}
    used: set[int] = set()
    for group, order in orders.items():
        free = [place for place in order if place not in used]
        places = _few_per_video([(place, records[place].video) for place in free], count)
        used.update(places)
        chosen[group] = [records[place] for place in places]
    groups = ("best", "median", "worst")
    return {group: chosen[group] for group in groups if chosen[group]}


def _few_per_video(order: Sequence[tuple[int, str]], count: int) -> list[int]:
    """The first places in order, one per video; more per video only if there are too few videos."""
    seen: dict[str, int] = {}
    rounds = []
    for rank, (place, video) in enumerate(order):
        rounds.append((seen.setdefault(video, 0), rank, place))
        seen[video] += 1
    first = sorted(rounds)[:count]
    return [place for _, _, place in sorted(first, key=lambda one: one[1])]


def make_examples(
    model: Localizer,
    info: CheckpointInfo,
    records: Sequence[BoxedFrame],
    *,
    device: torch.device,
    autocast: Callable[[], torch.autocast],
    postprocessing: Postprocessing = NO_POSTPROCESSING,
) -> dict[str, Example]:
    """Runs the model on frames and returns their examples by record id.

    Boxes use the thresholds that were best on validation. Frames that cannot be decoded are
    skipped.

    Args:
        model: a localizer, on `device`.
        info: of its checkpoint.
        records: frames; their labels are classes of the checkpoint.
        device: of the computation.
        autocast: creates the context of mixed precision.
        postprocessing: of the score maps, along each video.
    """
    examples: dict[str, Example] = {}

    def add(batch: FrameBatch, outputs: Outputs) -> None:
        for place, record in enumerate(batch.records):
            examples[record.id] = _example(info, batch, outputs, place)

    evaluate(
        model, records, info.classes, side=info.size,
        cam=seed_cam_of(model, info), device=device, autocast=autocast,
        on_batch=add, postprocessing=postprocessing,
    )  # fmt: skip
    return examples


def _example(info: CheckpointInfo, batch: FrameBatch, outputs: Outputs, place: int) -> Example:
    assert outputs.cams is not None  # `evaluate` computes both
    assert outputs.scores is not None
    record, size = batch.records[place], batch.sizes[place]
    cam, score_map = outputs.cams[place], outputs.scores[place]
    return Example(
        np.ascontiguousarray(batch.images[place].permute(1, 2, 0).numpy()),
        [scale_box(box, size, (info.size, info.size)) for box in record.boxes],
        info.classes[record.label],
        cam,
        box_at(cam, threshold_or_default(info.cam_threshold)),
        score_map,
        box_at(score_map, threshold_or_default(info.threshold)),
        record.id,
    )
