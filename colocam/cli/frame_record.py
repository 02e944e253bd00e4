"""Record of a localized frame, as the command localize writes it."""

import argparse
from typing import Any

from colocam.data.decoding.timestamps import TimedFrame
from colocam.evaluation.predictions import as_record
from colocam.localization.inference import Localization

Numbers = tuple[int, ...] | None
"""Numbers of the tracks of a frame's boxes; None: no tracks."""


def without_box_if_empty(found: Localization | None, over: float | None) -> Localization | None:
    """A localization, without its boxes if the frame is emptier than `over` (None: never)."""
    if found is None or over is None or found.emptiness <= over:
        return found
    return found.without_boxes()


def frame_record(
    options: argparse.Namespace,
    video: str,
    frame: TimedFrame,
    found: Localization,
    tracks: Numbers,
) -> dict[str, Any]:
    """Record of a frame: that of `as_record`, with tracks, and with emptiness if it is requested.

    Args:
        options: of the command.
        video: name of the video in records.
        frame: the frame.
        found: its localization.
        tracks: of its boxes.
    """
    record = as_record(video, frame.index, found.class_name, found, tracks is not None)
    if tracks is not None:
        record["tracks"] = list(tracks)
    if options.empty_over is not None:
        record["empty"] = round(found.emptiness, 4)
    return record
