"""Splits of a source data set: drawn by a seed, or read from split files."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from colocam.data.decoding.images import ImageFrames
from colocam.data.file_order import in_order
from colocam.data.layouts.split_files import (
    SplitRecord,
    read_class_ids,
    read_split,
    write_class_ids,
    write_split,
)
from colocam.data.prepare.source_set import Faults, SourceSet, SourceShot
from colocam.data.records import Box, clamp_box, is_outside
from colocam.runtime.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """Contents of split files.

    Attributes:
        classes: class names in the order of their labels.
        records: records by split.
        missing: ids of the split files read that are not in the source data set.
    """

    classes: tuple[str, ...]
    records: Mapping[str, list[SplitRecord]]
    missing: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes class_id.yaml and one folder per split."""
        folder.mkdir(parents=True, exist_ok=True)
        write_class_ids(folder / "class_id.yaml", self.classes)
        for split in SPLITS:
            write_split(folder / split, self.records[split])


def draw_splits(source: SourceSet, per_class: int, seed: int, faults: Faults) -> Splits:
    """Draws validation videos of each class from the training videos with boxes.

    The draw of a class depends only on the seed and on that class.

    Args:
        source: the source data set.
        per_class: number of validation videos per class; less if a class has fewer such videos, and
            at least one video of a class remains for training.
        seed: seed of the draw.
        faults: receives corrected and skipped items.

    Raises:
        UserError: there is no training shot, or no test video has boxes.
    """
    classes = tuple(in_order({shot.class_name for shot in source.shots}))
    validation: set[str] = set()
    for name in classes:
        validation |= _draw(source, name, per_class, seed, faults)
    records: dict[str, list[SplitRecord]] = {split: [] for split in SPLITS}
    for shot in source.shots:
        label = classes.index(shot.class_name)
        if shot.video in source.test_videos:
            records["test"] += _boxed_frames(shot, label, faults)
        elif shot.video in validation:
            records["val"] += _boxed_frames(shot, label, faults)
        else:
            records["train"].append(SplitRecord(shot.id, label, None, ()))
    if not records["train"]:
        raise UserError("no training shot: every video of the set is a test video")
    if not records["test"]:
        raise UserError("no frame of a test video has boxes; add the set's .mat files with boxes")
    return Splits(classes, records)


def read_splits(source: SourceSet, folder: Path, faults: Faults) -> Splits:
    """Reads split files; ids that are not in the source data set are skipped.

    Args:
        source: the source data set.
        folder: folder with class_id.yaml, train/, val/ and test/.
        faults: receives corrected and skipped items.

    Raises:
        UserError: the split files are malformed, or none of their training shots is in the set.
    """
    class_ids = read_class_ids(folder / "class_id.yaml")
    shots = {shot.id: shot for shot in source.shots}
    frames = {shot.id: frozenset(shot.frames) for shot in source.shots}
    records: dict[str, list[SplitRecord]] = {split: [] for split in SPLITS}
    missing = []
    for split in SPLITS:
        for record in _read(folder / split, faults):
            if record.label >= len(class_ids):
                raise UserError(
                    f"{folder / split / 'class_labels.txt'}: {record.id!r} has label "
                    f"{record.label}, but class_id.yaml has labels up to {len(class_ids) - 1}"
                )
            path = PurePosixPath(record.id)
            if split == "train" and record.id in shots:
                records[split].append(record)
            elif split != "train" and path.name in frames.get(str(path.parent), ()):
                records[split] += _correct(shots[str(path.parent)], record, faults)
            else:
                missing.append(record.id)
    if not records["train"]:
        raise UserError(
            f"{folder / 'train' / 'image_ids.txt'}: not one of its shots is in the set; "
            "SRC and --splits must belong together"
        )
    classes = tuple(sorted(class_ids, key=class_ids.__getitem__))
    return Splits(classes, records, tuple(missing))


def _read(folder: Path, faults: Faults) -> list[SplitRecord]:
    repeated: list[str] = []
    records = read_split(folder, repeated)
    if repeated:
        faults.add("repeated lines of split files skipped", repeated[0], len(repeated))
    return records


def _draw(source: SourceSet, name: str, per_class: int, seed: int, faults: Faults) -> set[str]:
    """Ids of the validation videos of a class."""
    training = {
        shot.video
        for shot in source.shots
        if shot.class_name == name and shot.video not in source.test_videos
    }
    # By characters, not in natural order: the draw of a seed stays what it was.
    candidates = sorted(training & {shot.video for shot in source.shots if shot.boxes})
    number = max(min(per_class, len(candidates), len(training) - 1), 0)
    if number < per_class:
        faults.add(f"classes with fewer than {per_class} validation videos", f"{name}, {number}")
    # crc32: hash() of a string differs between runs
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return {candidates[i] for i in rng.permutation(len(candidates))[:number]}


def _boxed_frames(shot: SourceShot, label: int, faults: Faults) -> list[SplitRecord]:
    return [
        record
        for frame in in_order(shot.boxes)
        for record in _correct(
            shot, SplitRecord(f"{shot.id}/{frame}", label, None, shot.boxes[frame]), faults
        )
    ]


def _correct(shot: SourceShot, record: SplitRecord, faults: Faults) -> list[SplitRecord]:
    """The record with size and valid boxes; an empty list if the frame cannot be decoded."""
    path = f"{shot.folder}/{PurePosixPath(record.id).name}"
    size = record.size or ImageFrames((path,), record.id).frame_size(0)
    if size is None:
        faults.add("boxed frames that cannot be decoded, skipped", record.id)
        return []
    boxes = [box for old in record.boxes for box in _correct_box(old, size, record.id, faults)]
    return [SplitRecord(record.id, record.label, size, tuple(boxes))]


def _correct_box(box: Box, size: tuple[int, int], where: str, faults: Faults) -> list[Box]:
    """The box, corrected; an empty list if it is outside the image."""
    x0, y0, x1, y1 = box
    ordered = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    faults.add("boxes with swapped corners corrected", where, ordered != box)
    # Published coordinates include width and height.
    if is_outside(ordered, *size):
        faults.add("boxes outside the image skipped", where)
        return []
    inside = clamp_box(ordered, *size)
    faults.add("boxes exceeding the image clamped to it", where, inside != ordered)
    return [inside]
