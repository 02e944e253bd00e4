"""Which frames a report shows, and their pictures' ingredients."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from colocam.cam import ActivationMap
from colocam.data.loading.frame_batches import FrameBatch
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import box_at, scale_box, threshold_or_default
from colocam.evaluation.evaluate import Outputs, evaluate
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.report.pictures import Example


def spread(records: Sequence[BoxedFrame], count: int) -> list[BoxedFrame]:
    """At most `count` of the records, evenly spread."""
    places = np.linspace(0, max(0, len(records) - 1), min(count, len(records)))
    return [records[place] for place in places.round().astype(int)]


def by_overlap(
    records: Sequence[BoxedFrame], overlaps: Sequence[float | None], count: int
) -> dict[str, list[BoxedFrame]]:
    """The "best", "median" and "worst" frames by IoU; none twice, and few of one video.

    Args:
        records: evaluated frames.
        overlaps: IoU of each; None for frames without boxes, which are not chosen.
        count: most frames a group; fewer where there are not three times as many.

    Returns:
        Groups of records: "best" from the best on, "worst" from the worst on, "median" from the
        middle outwards. Empty where no frame has boxes.
    """
    known = [place for place, overlap in enumerate(overlaps) if overlap is not None]
    rising = sorted(known, key=lambda place: overlaps[place])
    middle = sorted(range(len(rising)), key=lambda rank: abs(rank - (len(rising) - 1) / 2))
    orders = {
        "best": rising[::-1],
        "worst": rising,
        "median": [rising[rank] for rank in middle],
    }
    count = min(count, len(rising) // 3) or min(1, len(rising))
    chosen: dict[str, list[BoxedFrame]] = {}
    taken: set[int] = set()
    for group, order in orders.items():
        free = [place for place in order if place not in taken]
        places = _few_of_a_video([(place, records[place].video) for place in free], count)
        taken.update(places)
        chosen[group] = [records[place] for place in places]
    groups = ("best", "median", "worst")
    return {group: chosen[group] for group in groups if chosen[group]}


def _few_of_a_video(order: Sequence[tuple[int, str]], count: int) -> list[int]:
    """The first places in order, one of each video; further ones of a video only where needed."""
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
    smooth: float | None = None,
) -> dict[str, Example]:
    """Runs the model over frames for pictures of them, by the records' ids.

    Boxes are taken at the thresholds that were best on validation. Frames that cannot be decoded
    are left out.

    Args:
        model: a localizer, on `device`.
        info: of its checkpoint.
        records: frames; their labels are classes of the checkpoint.
        device: where to compute.
        autocast: makes the context of mixed precision.
        smooth: X of the smoothing of score maps along each video; None: none.
    """
    found: dict[str, Example] = {}

    def take(batch: FrameBatch, outputs: Outputs) -> None:
        for place, record in enumerate(batch.records):
            found[record.id] = _example(info, batch, outputs, place)

    evaluate(
        model, records, info.classes, side=info.size,
        cam=ActivationMap(model, info.cam, info.cam_layer), device=device, autocast=autocast,
        on_batch=take, smooth=smooth,
    )  # fmt: skip
    return found


def _example(info: CheckpointInfo, batch: FrameBatch, outputs: Outputs, place: int) -> Example:
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
