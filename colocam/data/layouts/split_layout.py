"""Layout with split files: ids are shot folders and frame files below the data folder.

The layout is that of YouTube-Objects v1, `<class>/data/<video>/shots/<shot>/<frame>.jpg`, or any
other `<video>/<shot>/<frame>`.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from colocam.data.decoding.images import ImageFrames, list_frames
from colocam.data.file_order import FileOrder
from colocam.data.layouts.box_units import check_units
from colocam.data.layouts.split_files import SplitRecord, read_class_ids, read_split
from colocam.data.records import Box, BoxedFrame, Shot, VideoData, clamp_box, is_outside
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of, skipped_line


def open_split_layout(data: Path, splits: Path, order: FileOrder = "natural") -> VideoData:
    """Opens the shots and frames that split files list.

    One frame of each video with boxes is decoded to verify `image_sizes.txt`. Missing and empty
    shots and frames are skipped and invalid boxes are corrected; `notes` of the result counts both,
    and frames that splits share.

    Args:
        data: data folder, which the ids are relative to.
        splits: folder with class_id.yaml, train/, val/ and test/.
        order: order of the frames of a shot, by file name.

    Returns:
        Training shots and evaluation frames.

    Raises:
        UserError: split files are missing or malformed, a label is not in class_id.yaml, an id is
            outside `data`, the training split is empty, or more than half of a split's ids are
            missing in `data`.
    """
    if not splits.is_dir():
        raise UserError(f"{splits}: no such folder; --splits takes the folder with class_id.yaml")
    class_ids = read_class_ids(splits / "class_id.yaml")
    notes: list[str] = []
    records = {
        split: _read_labelled(splits / split, len(class_ids), notes)
        for split in ("train", "val", "test")
    }
    if not records["train"]:
        raise UserError(f"{splits / 'train' / 'image_ids.txt'}: lists no training shot")
    train = _open_shots(data, records["train"], order, notes)
    val = _open_frames(data, "val", records["val"], notes)
    test = _open_frames(data, "test", records["test"], notes)
    _report_shared({shot.id for shot in train}, val, test, notes)
    classes = tuple(sorted(class_ids, key=class_ids.__getitem__))
    return VideoData(classes, train, val, test, tuple(notes), has_split_files=True)


def video_of(shot: str) -> str:
    """Returns the video of a shot folder: "cat/data/0004/shots/010" → "cat/data/0004".

    A folder directly below that of its class is a video of one shot: "cat/kitten" → "cat/kitten".
    """
    video = PurePosixPath(shot).parent
    if len(video.parts) < 2:
        return shot
    return str(video.parent if video.name == "shots" else video)


def _read_labelled(folder: Path, num_classes: int, notes: list[str]) -> list[SplitRecord]:
    """Reads a split; checks labels and ids."""
    repeated: list[str] = []
    records = read_split(folder, repeated)
    boxes = [box for record in records for box in record.boxes]
    check_units(folder / "localization.txt", boxes, notes)
    for record in records:
        if record.label >= num_classes:
            raise UserError(
                f"{folder / 'class_labels.txt'}: {record.id!r} has label {record.label}, but "
                f"class_id.yaml has labels up to {num_classes - 1}"
            )
        path = PurePosixPath(record.id)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{folder / 'image_ids.txt'}: {record.id!r} is outside the data folder; "
                "an id is a path below it"
            )
    if repeated:
        what = count_of(len(repeated), "repeated line")
        notes.append(f"{folder.name}: {what} skipped (first: {repeated[0]})")
    return records


def _open_shots(
    data: Path, records: list[SplitRecord], order: FileOrder, notes: list[str]
) -> tuple[Shot, ...]:
    shots, missing = [], []
    for record in records:
        paths = _frames_in(data / record.id, order)
        if paths:
            frames = ImageFrames(paths, record.id)
            shots.append(Shot(record.id, record.label, video_of(record.id), frames))
        else:
            missing.append(record.id)
    _report_missing(data, missing, len(records), "training shot", notes)
    return tuple(shots)


def _frames_in(folder: Path, order: FileOrder) -> tuple[str, ...]:
    try:
        return list_frames(folder, order)
    except OSError:
        return ()


def _open_frames(
    data: Path, split: str, records: list[SplitRecord], notes: list[str]
) -> tuple[BoxedFrame, ...]:
    frames, missing = [], []
    verified: set[str] = set()  # videos whose frame size is that of image_sizes.txt
    corrections: Counter[str] = Counter()
    for record in records:
        path = os.path.join(data, record.id)
        if not os.path.isfile(path) or os.path.getsize(path) == 0:
            missing.append(record.id)
            continue
        source = ImageFrames((path,), record.id)
        video = video_of(str(PurePosixPath(record.id).parent))
        size = _size_of(source, record, video, verified) if record.boxes else None
        boxes = _boxes_of(record, size, corrections)
        frames.append(BoxedFrame(record.id, record.label, video, source, 0, boxes))
    _report_missing(data, missing, len(records), f"{split} frame", notes)
    if not records:
        notes.append(f"{split}: image_ids.txt lists no frame")
    notes += [f"{split}: {count_of(n, 'box')} {how}" for how, n in corrections.items() if n]
    return tuple(frames)


def _size_of(
    source: ImageFrames, record: SplitRecord, video: str, verified: set[str]
) -> tuple[int, int] | None:
    """(width, height) of a frame with boxes; None if it is not listed and cannot be decoded.

    Frames of `verified` videos are not decoded; a video whose decoded size is the listed one is
    added to them.
    """
    if record.size and video in verified:
        return record.size
    size = source.frame_size(0)
    if size == record.size:
        verified.add(video)
    return size or record.size


def _boxes_of(
    record: SplitRecord, size: tuple[int, int] | None, corrections: Counter[str]
) -> tuple[Box, ...]:
    """Valid boxes of a frame of the given size; corrections are counted by kind."""
    boxes: dict[Box, Box] = {}  # by the box as written
    for written in record.boxes:
        if written in boxes:
            corrections["listed twice kept once"] += 1
            continue
        fitted = _fit(written, record.size, size)
        what = "scaled to frames whose size differs from image_sizes.txt"
        corrections[what] += fitted != written
        ordered = _order_corners(fitted)
        corrections["with swapped corners corrected"] += ordered != fitted
        # Published coordinates include width and height (those of YouTube-Objects v2.2 start at 1),
        # so a box that ends there does not exceed the image.
        inside = clamp_box(ordered, *size) if size else ordered
        if size and is_outside(ordered, *size):
            corrections["outside the image skipped"] += 1
            continue
        corrections["exceeding the image clamped to it"] += inside != ordered
        boxes[written] = inside
    return tuple(boxes.values())


def _fit(box: Box, listed: tuple[int, int] | None, size: tuple[int, int] | None) -> Box:
    """Scales a box from the listed frame size to the actual one."""
    if listed is None or size is None or listed == size:
        return box
    x, y = size[0] / listed[0], size[1] / listed[1]
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def _order_corners(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _report_missing(
    data: Path, missing: list[str], total: int, thing: str, notes: list[str]
) -> None:
    """Adds a note on missing ids; an error if they are more than half."""
    if 2 * len(missing) > total:
        raise UserError(
            f"{data}: missing or empty: {len(missing)} of {count_of(total, thing)}, the first "
            f"{missing[0]}; --data and --splits must belong together"
        )
    if missing:
        notes.append(skipped_line(missing, total, thing, "missing or empty"))


def _report_shared(
    shots: set[str], val: tuple[BoxedFrame, ...], test: tuple[BoxedFrame, ...], notes: list[str]
) -> None:
    """Adds notes on frames of val and test in training shots, and on frames in both."""
    for split, frames in (("val", val), ("test", test)):
        trained = [frame.id for frame in frames if str(PurePosixPath(frame.id).parent) in shots]
        if trained:
            verb = "is in a training shot" if len(trained) == 1 else "are in training shots"
            total = count_of(len(frames), f"{split} frame")
            notes.append(f"{len(trained)} of {total} {verb} (first: {trained[0]})")
    of_val = {frame.id for frame in val}
    if both := [frame.id for frame in test if frame.id in of_val]:
        verb, total = "is" if len(both) == 1 else "are", count_of(len(test), "test frame")
        notes.append(f"{len(both)} of {total} {verb} in val as well (first: {both[0]})")
