"""A data set with split files: ids are shot folders and frame files below the data folder.

The layout of YouTube-Objects v1, `<class>/data/<video>/shots/<shot>/<frame>.jpg`, and any other in
which a frame lies in the folder of its shot and that in the folder of its video.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from colocam.data.decoding.images import ImageFrames, list_frames
from colocam.data.layouts.split_files import SplitRecord, read_class_ids, read_split
from colocam.data.records import Box, BoxedFrame, Shot, VideoData, clamp_box, lies_outside
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of, left_out


def open_split_layout(data: Path, splits: Path) -> VideoData:
    """Open the shots and frames that the split files name.

    Shot folders are listed, frame files of val and test looked at for their size in bytes; of each
    video with boxes one frame is decoded, to make sure of `image_sizes.txt`. What is missing or
    empty is left out, boxes are mended (see `_boxes_of`), both counted in notes; so are frames that
    the splits share.

    Args:
        data: folder below which the ids lie.
        splits: folder with class_id.yaml, train/, val/ and test/.

    Raises:
        UserError: for missing or malformed split files, a label that class_id.yaml does not name,
            an id that leads out of `data`, an empty training split, or where more than half of a
            split's ids are missing in `data`.
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
        raise UserError(f"{splits / 'train' / 'image_ids.txt'}: lists no shot to train on")
    train = _open_shots(data, records["train"], notes)
    val = _open_frames(data, "val", records["val"], notes)
    test = _open_frames(data, "test", records["test"], notes)
    _report_shared({shot.id for shot in train}, val, test, notes)
    classes = tuple(sorted(class_ids, key=class_ids.__getitem__))
    return VideoData(classes, train, val, test, tuple(notes))


def video_of(shot: str) -> str:
    """The video that a shot folder belongs to: "cat/data/0004/shots/010" → "cat/data/0004".

    A folder right below that of its class is a video of one shot: "cat/kitten" → "cat/kitten".
    """
    video = PurePosixPath(shot).parent
    if len(video.parts) < 2:
        return shot
    return str(video.parent if video.name == "shots" else video)


def _read_labelled(folder: Path, num_classes: int, notes: list[str]) -> list[SplitRecord]:
    repeated: list[str] = []
    records = read_split(folder, repeated)
    for record in records:
        if record.label >= num_classes:
            raise UserError(
                f"{folder / 'class_labels.txt'}: {record.id!r} has label {record.label}, but "
                f"class_id.yaml names labels up to {num_classes - 1}"
            )
        path = PurePosixPath(record.id)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{folder / 'image_ids.txt'}: {record.id!r} leads out of the data folder; "
                "an id is a path below it"
            )
    if repeated:
        what = count_of(len(repeated), "line")
        notes.append(f"{folder.name}: {what} that stood there before passed over ({repeated[0]})")
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
    frames, missing, agreeing = [], [], set()
    mended: Counter[str] = Counter()
    for record in records:
        path = os.path.join(data, record.id)
        if not os.path.isfile(path) or os.path.getsize(path) == 0:
            missing.append(record.id)
            continue
        source = ImageFrames((path,), record.id)
        video = video_of(str(PurePosixPath(record.id).parent))
        size = _size_of(source, record, video, agreeing) if record.boxes else None
        boxes = _boxes_of(record, size, mended)
        frames.append(BoxedFrame(record.id, record.label, video, source, 0, boxes))
    _report_missing(data, missing, len(records), f"{split} frame", notes)
    if not records:
        notes.append(f"{split}: image_ids.txt lists no frame")
    notes += [f"{split}: {count_of(n, 'box')} {how}" for how, n in mended.items() if n]
    return tuple(frames)


def _size_of(
    source: ImageFrames, record: SplitRecord, video: str, agreeing: set[str]
) -> tuple[int, int] | None:
    """(width, height) of a frame with boxes; None where it is not told and cannot be decoded.

    `agreeing` holds the videos of which a frame has the size that `image_sizes.txt` tells; the
    others' frames are decoded.
    """
    if record.size and video in agreeing:
        return record.size
    size = source.frame_size(0)
    if size == record.size:
        agreeing.add(video)
    return size or record.size


def _boxes_of(
    record: SplitRecord, size: tuple[int, int] | None, mended: Counter[str]
) -> tuple[Box, ...]:
    """The boxes of a frame of this size, sound: what had to be mended is counted."""
    boxes: dict[Box, Box] = {}  # by what is written
    for written in record.boxes:
        if written in boxes:
            mended["listed twice kept once"] += 1
            continue
        fitted = _fit(written, record.size, size)
        mended["scaled to frames of another size than image_sizes.txt tells"] += fitted != written
        ordered = _order_corners(fitted)
        mended["with swapped corners put right"] += ordered != fitted
        # The field's coordinates run up to width and height themselves (those of YouTube-Objects
        # v2.2 count from 1), so a box that ends there does not reach past the image.
        inside = clamp_box(ordered, *size) if size else ordered
        if size and lies_outside(ordered, *size):
            mended["wholly outside of the image left out"] += 1
            continue
        mended["reaching past the image clamped to it"] += inside != ordered
        boxes[written] = inside
    return tuple(boxes.values())


def _fit(box: Box, told: tuple[int, int] | None, size: tuple[int, int] | None) -> Box:
    """A box of a frame whose size was told as `told`, in pixels of one of this size."""
    if told is None or size is None or told == size:
        return box
    x, y = size[0] / told[0], size[1] / told[1]
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def _order_corners(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


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


def _report_shared(
    shots: set[str], val: tuple[BoxedFrame, ...], test: tuple[BoxedFrame, ...], notes: list[str]
) -> None:
    """Notes for frames of val and test that train too, and for those in both."""
    for split, frames in (("val", val), ("test", test)):
        trained = [frame.id for frame in frames if str(PurePosixPath(frame.id).parent) in shots]
        if trained:
            verb = "lies in a shot that trains" if len(trained) == 1 else "lie in shots that train"
            total = count_of(len(frames), f"{split} frame")
            notes.append(f"{len(trained)} of {total} {verb} (first: {trained[0]})")
    known = {frame.id for frame in val}
    if both := [frame.id for frame in test if frame.id in known]:
        verb, total = "is" if len(both) == 1 else "are", count_of(len(test), "test frame")
        notes.append(f"{len(both)} of {total} {verb} in val as well (first: {both[0]})")
