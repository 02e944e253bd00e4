"""Overlay videos of a report: frame, seed CAM and score map over the frames around an example."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colocam.data.decoding.frame_video import whole_source
from colocam.data.decoding.timestamps import FOLDER_RATE
from colocam.data.decoding.video_file import ImageFrames
from colocam.data.records import BoxedFrame, FrameSource
from colocam.localization.video_writer import mp4_file
from colocam.report.examples import ExampleMaker
from colocam.report.pictures import GAP, Example, example_tiles, side_by_side

MOST = 100  # frames of an overlay video
FOLDER = "overlays"


@dataclass(frozen=True)
class Excerpt:
    """Consecutive frames of a video.

    Attributes:
        name: of the video.
        records: its frames in order, with their ground-truth boxes, if any.
    """

    name: str
    records: Sequence[BoxedFrame]


def excerpt_around(record: BoxedFrame, boxed: Mapping[tuple, BoxedFrame]) -> Excerpt:
    """The frames around one frame, up to `MOST`.

    Args:
        record: the frame. If it is an image file of its own, its video is the image's folder.
        boxed: records with boxes by `frame_key`.
    """
    source, index = whole_source(record)
    start = max(0, min(index - MOST // 2, len(source) - MOST))
    records = []
    for number in range(start, min(len(source), start + MOST)):
        same = boxed.get(frame_key(source, number))
        boxes = () if same is None else same.boxes
        name = f"{source.name}#{number}"
        records.append(BoxedFrame(name, record.label, record.video, source, number, boxes))
    return Excerpt(source.name, records)


def frame_key(frames: FrameSource, index: int) -> tuple:
    """Key of a frame, the same through whichever source it is read."""
    if isinstance(frames, ImageFrames):
        return (os.path.normpath(frames.paths[index]),)
    return (frames.name, index)


def write_overlays(
    folder: Path,
    examples_of: ExampleMaker,
    chosen: Mapping[str, BoxedFrame],
    records: Sequence[BoxedFrame],
) -> list[tuple[str, str]]:
    """Writes one mp4 per chosen frame: frame, seed CAM and score map side by side.

    Args:
        folder: of the report; the videos are written to its subfolder `FOLDER`.
        examples_of: runs the model, as `make_examples` does.
        chosen: frames by the name of their video file.
        records: all evaluated frames; their boxes are drawn.

    Returns:
        (description, path relative to `folder`) of each video. A video of one frame is skipped.

    Raises:
        UserError: a video cannot be written.
    """
    boxed = {frame_key(one.frames, one.index): one for one in records}
    written = []
    for name, record in chosen.items():
        excerpt = excerpt_around(record, boxed)
        examples = examples_of(excerpt.records)
        if len(examples) < 2:
            continue
        path = Path(FOLDER) / f"{name}.mp4"
        _write(folder / path, [examples[r.id] for r in excerpt.records if r.id in examples])
        first, last = excerpt.records[0].index, excerpt.records[-1].index
        written.append((f"{name}: {excerpt.name}, frames {first} to {last}", path.as_posix()))
    return written


def _write(path: Path, examples: Sequence[Example]) -> None:
    pictures = (side_by_side(example_tiles(example), GAP) for example in examples)
    first = next(pictures)
    size = first.shape[1], first.shape[0]
    with mp4_file(path, size, FOLDER_RATE) as video:
        for number, picture in enumerate((first, *pictures)):
            video.write(np.ascontiguousarray(picture), number / FOLDER_RATE)
