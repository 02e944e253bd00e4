"""Which shots of a found set train, and which frames validate and test: drawn, or as given."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from colocam.data.decoding.images import ImageFrames
from colocam.data.layouts.split_files import (
    SplitRecord,
    read_class_ids,
    read_split,
    write_class_ids,
    write_split,
)
from colocam.data.prepare.source_set import Faults, FoundSet, FoundShot
from colocam.data.records import Box, clamp_box, lies_outside
from colocam.runtime.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Choice:
    """Split files to be written.

    Attributes:
        classes: names in the order of their labels.
        records: by split.
        missing: ids of given split files that the set does not hold.
    """

    classes: tuple[str, ...]
    records: Mapping[str, list[SplitRecord]]
    missing: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes class_id.yaml and a folder a split."""
        folder.mkdir(parents=True, exist_ok=True)
        write_class_ids(folder / "class_id.yaml", self.classes)
        for split in SPLITS:
            write_split(folder / split, self.records[split])


def draw_splits(found: FoundSet, per_class: int, seed: int, faults: Faults) -> Choice:
    """Draws validation videos of each class from the training videos that have boxes.

    Fewer where there are not so many, and never all training videos of a class. A class's draw
    depends on the seed and on that class alone.

    Raises:
        UserError: no shot is left to train on, or no test video has boxes.
    """
    classes = tuple(sorted({shot.class_name for shot in found.shots}))
    validation: set[str] = set()
    for name in classes:
        validation |= _draw(found, name, per_class, seed, faults)
    records: dict[str, list[SplitRecord]] = {split: [] for split in SPLITS}
    for shot in found.shots:
        label = classes.index(shot.class_name)
        if shot.video in found.test_videos:
            records["test"] += _boxed_frames(shot, label, faults)
        elif shot.video in validation:
            records["val"] += _boxed_frames(shot, label, faults)
        else:
            records["train"].append(SplitRecord(shot.id, label, None, ()))
    if not records["train"]:
        raise UserError("no shot to train on: every video of the set is a test video")
    if not records["test"]:
        raise UserError("no frame of a test video has boxes; add the set's .mat files with boxes")
    return Choice(classes, records)


def given_splits(found: FoundSet, splits: Path, faults: Faults) -> Choice:
    """Takes split files as they are, without the ids that the set does not hold.

    Raises:
        UserError: they are malformed, or none of their training shots is there.
    """
    class_ids = read_class_ids(splits / "class_id.yaml")
    shots = {shot.id: shot for shot in found.shots}
    frames = {shot.id: frozenset(shot.frames) for shot in found.shots}
    records: dict[str, list[SplitRecord]] = {split: [] for split in SPLITS}
    missing = []
    for split in SPLITS:
        for record in _read(splits / split, faults):
            if record.label >= len(class_ids):
                raise UserError(
                    f"{splits / split / 'class_labels.txt'}: {record.id!r} has label "
                    f"{record.label}, but class_id.yaml names labels up to {len(class_ids) - 1}"
                )
            path = PurePosixPath(record.id)
            if split == "train" and record.id in shots:
                records[split].append(record)
            elif split != "train" and path.name in frames.get(str(path.parent), ()):
                records[split] += _mended(shots[str(path.parent)], record, faults)
            else:
                missing.append(record.id)
    if not records["train"]:
        raise UserError(
            f"{splits / 'train' / 'image_ids.txt'}: not one of its shots is in the set; "
            "SRC and --splits must belong together"
        )
    classes = tuple(sorted(class_ids, key=class_ids.__getitem__))
    return Choice(classes, records, tuple(missing))


def _read(folder: Path, faults: Faults) -> list[SplitRecord]:
    repeated: list[str] = []
    records = read_split(folder, repeated)
    if repeated:
        faults.add("lines of split files that stood there before", repeated[0], len(repeated))
    return records


def _draw(found: FoundSet, name: str, per_class: int, seed: int, faults: Faults) -> set[str]:
    training = {
        shot.video
        for shot in found.shots
        if shot.class_name == name and shot.video not in found.test_videos
    }
    boxed = sorted(training & {shot.video for shot in found.shots if shot.boxes})
    number = max(min(per_class, len(boxed), len(training) - 1), 0)
    if number < per_class:
        faults.add(f"classes with fewer than {per_class} validation videos", f"{name}, {number}")
    # crc32, as hash() of a string differs from run to run
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return {boxed[i] for i in rng.permutation(len(boxed))[:number]}


def _boxed_frames(shot: FoundShot, label: int, faults: Faults) -> list[SplitRecord]:
    return [
        record
        for frame, boxes in sorted(shot.boxes.items())
        for record in _mended(shot, SplitRecord(f"{shot.id}/{frame}", label, None, boxes), faults)
    ]


def _mended(shot: FoundShot, record: SplitRecord, faults: Faults) -> list[SplitRecord]:
    """The record with its size and sound boxes; none where the frame cannot be decoded."""
    path = f"{shot.folder}/{PurePosixPath(record.id).name}"
    size = record.size or ImageFrames((path,), record.id).frame_size(0)
    if size is None:
        faults.add("boxed frames that cannot be decoded left out", record.id)
        return []
    boxes = [box for old in record.boxes for box in _mended_box(old, size, record.id, faults)]
    return [SplitRecord(record.id, record.label, size, tuple(boxes))]


def _mended_box(box: Box, size: tuple[int, int], where: str, faults: Faults) -> list[Box]:
    """The box put right; none where it lies outside of the image."""
    x0, y0, x1, y1 = box
    ordered = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    faults.add("boxes with swapped corners put right", where, ordered != box)
    # The published coordinates run up to width and height themselves.
    if lies_outside(ordered, *size):
        faults.add("boxes wholly outside of the image left out", where)
        return []
    inside = clamp_box(ordered, *size)
    faults.add("boxes reaching past the image clamped to it", where, inside != ordered)
    return [inside]
