"""CorLoc of stored maps, as they are: of the maps of a teacher, without training on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import TimeRemainingColumn

from colocam.data.decoding.resizing import resized_map
from colocam.data.loading.frame_batches import frame_batches
from colocam.data.loading.prefetch import prefetched
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import scale_box
from colocam.evaluation.contour_workers import contour_workers, useful_processes
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.iou_curves import centre_curves
from colocam.runtime.console import progress_bar
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

SIDE = 224  # pixels: that of published evaluations
_BATCH = 32  # frames


@dataclass
class MapScores:
    """CorLoc of stored maps.

    Attributes:
        maps: of the maps.
        centre: of the box around the centre.
        unreadable: ids of the frames that could not be decoded.
    """

    maps: CorLoc
    centre: CorLoc
    unreadable: list[str] = field(default_factory=list)

    def summary(self, on_validation: MapScores | None) -> dict[str, Any]:
        """Summary as that of a localizer, with that of the box around the centre.

        Args:
            on_validation: of the validation frames, which choose the thresholds of
                `corloc_honest`; None: there are none.
        """
        if on_validation is None:
            return self.maps.summary() | {"centre_box": self.centre.summary()}
        maps, centre = on_validation.maps.best_threshold(), on_validation.centre.best_threshold()
        return self.maps.summary(maps) | {"centre_box": self.centre.summary(centre)}


def missing_maps(records: Sequence[BoxedFrame], maps: SeedMaps) -> list[BoxedFrame]:
    """Returns the frames that have no stored map."""
    return [one for one in records if not maps.path(one.frames, one.index).is_file()]


def score_maps(
    records: Sequence[BoxedFrame], classes: Sequence[str], maps: SeedMaps, console: Console
) -> MapScores:
    """Evaluates stored maps, resized to 224×224, by the protocols of `CorLoc`.

    Args:
        records: frames with boxes, each with a stored map.
        classes: class names, in the order of the labels.
        maps: folder of the maps.
        console: shows the progress.

    Raises:
        UserError: a map does not exist or is invalid, or no frame can be decoded.
    """
    scores = MapScores(CorLoc(classes), CorLoc(classes, curves=centre_curves))
    with (
        contour_workers(useful_processes(len(records), 1)) as pool,
        progress_bar(console, TimeRemainingColumn()) as progress,
    ):
        bar = progress.add_task("evaluating", total=len(records))
        for batch in prefetched(frame_batches(records, SIDE, _BATCH)):
            frames = [
                (
                    resized_map(maps.read(record.frames, record.index), SIDE),
                    [scale_box(box, size, (SIDE, SIDE)) for box in record.boxes],
                    *(record.label, None, record.video),
                )
                for record, size in zip(batch.records, batch.sizes, strict=True)
            ]
            scores.maps.add_all(frames, pool)
            scores.centre.add_all(frames)
            scores.unreadable += batch.unreadable
            progress.advance(bar, len(batch.records) + len(batch.unreadable))
    if len(scores.unreadable) == len(records):
        raise UserError(f"not one of {count_of(len(records), 'frame')} can be decoded")
    return scores
