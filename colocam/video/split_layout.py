"""A data set with split files: ids are shot folders and frame files below the data folder.

The layout of YouTube-Objects v1, `<class>/data/<video>/shots/<shot>/<frame>.jpg`, and any other in
which a frame lies in the folder of its shot and that in the folder of its video.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from colocam.errors import UserError
from colocam.video.frames import ImageFrames, list_frames
from colocam.video.notes import count_of, left_out
from colocam.video.records import Box, BoxedFrame, Shot, VideoData, clamp_box
from colocam.video.splits import SplitRecord, read_class_ids, read_split


def open_split_layout(data: Path, splits: Path) -> VideoData:
    """Open the shots and frames that the split files name.

    Shot folders are listed, frame files of val and test looked at for their size in bytes;
    nothing is decoded. What is missing or empty is left out, with a note. Boxes with swapped
    corners are put right, those that reach past the image clamped, both counted in a note.

    Args:
        data: folder below which the ids lie.
        splits: folder with class_id.yaml, train/, val/ and test/.

    Raises:
        UserError: for missing or malformed split files, a label that class_id.yaml does not name,
            an empty training split, or where more than half of a split's ids are missing in
            `data`.
    """
    if not splits.is_dir():
        raise UserError(f"{splits}: no such folder; --splits takes the folder with class_id.yaml")
    class_ids = read_class_ids(splits / "class_id.yaml")
    records = {
        split: _read_labelled(splits / split, len(class_ids)) for split in ("train", "val", "test")
    }
    if not records["train"]:
        raise UserError(f"{splits / 'train' / 'image_ids.txt'}: lists no shot to train on")
    notes: list[str] = []
    return VideoData(
        classes=tuple(sorted(class_ids, key=class_ids.__getitem__)),
        train=_open_shots(data, records["train"], notes),
        val=_open_frames(data, "val", records["val"], notes),
        test=_open_frames(data, "test", records["test"], notes),
        notes=tuple(notes),
    )


def video_of(shot: str) -> str:
    """The video that a shot folder belongs to: "cat/data/0004/shots/010" → "cat/data/0004".

    A folder right below that of its class is a video of one shot: "cat/kitten" → "cat/kitten".
    """
    video = PurePosixPath(shot).parent
    if len(video.parts) < 2:
        return shot
    return str(video.parent if video.name == "shots" else video)


def _read_labelled(folder: Path, num_classes: int) -> list[SplitRecord]:
    records = read_split(folder)
    for record in records:
        if record.label >= num_classes:
            raise UserError(
                f"{folder / 'class_labels.txt'}: {record.id!r} has label {record.label}, but "
                f"class_id.yaml names labels up to {num_classes - 1}"
            )
    return records


def _open_shots(data: Path, records: list[SplitRecord], notes: list[str]) -> tuple[Shot, ...]:
    shots, missing = [], []
    for record in records:
        paths = _frames_in(data / record.id)
        if paths:
            frames = ImageFrames(paths, record.id)
            shots.append(Shot(record.id, record.label, video_of(record.id), frames))
        else:
            missing.append(record.id)
    _report_missing(data, missing, len(records), "training shot", notes)
    return tuple(shots)


def _frames_in(folder: Path) -> tuple[str, ...]:
    try:
        return list_frames(folder)
    except OSError:
        return ()


def _open_frames(
    data: Path, split: str, records: list[SplitRecord], notes: list[str]
) -> tuple[BoxedFrame, ...]:
    frames, missing, swapped, clamped = [], [], 0, 0
    for record in records:
        path = os.path.join(data, record.id)
        if not os.path.isfile(path) or os.path.getsize(path) == 0:
            missing.append(record.id)
            continue
        source = ImageFrames((path,), record.id)
        ordered = [_order_corners(box) for box in record.boxes]
        boxes = _clamp(ordered, record.size or source.frame_size(0))
        swapped += sum(a != b for a, b in zip(record.boxes, ordered, strict=True))
        clamped += sum(a != b for a, b in zip(ordered, boxes, strict=True))
        video = video_of(str(PurePosixPath(record.id).parent))
        frames.append(BoxedFrame(record.id, record.label, video, source, 0, boxes))
    _report_missing(data, missing, len(records), f"{split} frame", notes)
    if swapped:
        notes.append(f"{split}: {count_of(swapped, 'box')} with swapped corners put right")
    if clamped:
        notes.append(f"{split}: {count_of(clamped, 'box')} reaching past the image clamped to it")
    return tuple(frames)


def _order_corners(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _clamp(boxes: list[Box], size: tuple[int, int] | None) -> tuple[Box, ...]:
    # The field's coordinates run up to width and height themselves (those of YouTube-Objects v2.2
    # count from 1), so a box that ends there does not reach past the image.
    return tuple(clamp_box(box, *size) for box in boxes) if size else tuple(boxes)


def _report_missing(
    data: Path, missing: list[str], total: int, thing: str, notes: list[str]
) -> None:
    if 2 * len(missing) > total:
        raise UserError(
            f"{data}: missing or empty: {len(missing)} of {count_of(total, thing)}, the first "
            f"{missing[0]}; --data and --splits must belong together"
        )
    if missing:
        notes.append(left_out(missing, total, thing, "missing or empty"))
