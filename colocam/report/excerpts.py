"""Overlay videos of a report: how seed CAM and score map follow the object around a frame."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from colocam.data.decoding.enclosing_video import enclosing_video
from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.timestamps import FOLDER_RATE
from colocam.data.records import BoxedFrame, FrameSource
from colocam.localization.video_writer import mp4_file
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.report.examples import make_examples
from colocam.report.pictures import GAP, Example, beside, example_tiles

MOST = 100  # frames of an overlay
FOLDER = "overlays"


@dataclass(frozen=True)
class Excerpt:
    """Some frames in a row of a video.

    Attributes:
        name: of the video.
        records: its frames, in order, with the boxes that are known.
    """

    name: str
    records: Sequence[BoxedFrame]


def excerpt_around(record: BoxedFrame, known: Mapping[tuple, BoxedFrame]) -> Excerpt:
    """Frames before and behind one, as many as there are up to `MOST`.

    Args:
        record: the frame; where it is an image that stands for itself, the folder that the image
            lies in is its video.
        known: records with boxes by `place_of`.
    """
    source, index = enclosing_video(record)
    start = max(0, min(index - MOST // 2, len(source) - MOST))
    records = []
    for place in range(start, min(len(source), start + MOST)):
        name, boxed = f"{source.name}#{place}", known.get(place_of(source, place))
        boxes = () if boxed is None else boxed.boxes
        records.append(BoxedFrame(name, record.label, record.video, source, place, boxes))
    return Excerpt(source.name, records)


def place_of(frames: FrameSource, index: int) -> tuple:
    """What makes a frame the same frame, whatever source it is read through."""
    if isinstance(frames, ImageFrames):
        return (os.path.normpath(frames.paths[index]),)
    return (frames.name, index)


def write_overlays(
    folder: Path,
    model: Localizer,
    info: CheckpointInfo,
    chosen: Mapping[str, BoxedFrame],
    records: Sequence[BoxedFrame],
    *,
    device: torch.device,
    autocast: Callable[[], torch.autocast],
    smooth: float | None = None,
) -> list[tuple[str, str]]:
    """Writes an mp4 for each chosen frame: frame, seed CAM and score map side by side.

    Args:
        folder: of the report; the videos go into `FOLDER` in it.
        model: a localizer, on `device`.
        info: of its checkpoint.
        chosen: frames by the name that their overlay gets.
        records: all evaluated frames, whose boxes are drawn where they are known.
        device: where to compute.
        autocast: makes the context of mixed precision.
        smooth: X of the smoothing of score maps along each video; None: none.

    Returns:
        (what it shows, path below `folder`) of each; a video of one frame gets none.

    Raises:
        UserError: one cannot be written.
    """
    known = {place_of(one.frames, one.index): one for one in records}
    written = []
    for name, record in chosen.items():
        excerpt = excerpt_around(record, known)
        found = make_examples(
            model, info, excerpt.records, device=device, autocast=autocast, smooth=smooth
        )
        if len(found) < 2:
            continue
        path = Path(FOLDER) / f"{name}.mp4"
        _write(folder / path, [found[one.id] for one in excerpt.records if one.id in found])
        first, last = (excerpt.records[place].index for place in (0, -1))
        written.append((f"{name}: {excerpt.name}, frames {first} to {last}", path.as_posix()))
    return written


def _write(path: Path, examples: Sequence[Example]) -> None:
    pictures = (beside(example_tiles(example), GAP) for example in examples)
    first = next(pictures)
    size = first.shape[1], first.shape[0]
    with mp4_file(path, size, FOLDER_RATE) as video:
        for number, picture in enumerate((first, *pictures)):
            video.write(np.ascontiguousarray(picture), number / FOLDER_RATE)
