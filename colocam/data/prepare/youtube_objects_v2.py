"""YouTube-Objects v2.2 in its published layout (Kalogeiton et al. 2016).

Frames are `<class>/<8 digits>.jpg`. `Ranges/ranges_<class>.mat` has a column per shot;
`GroundTruth/<class>/bb_gtTest_<class>.mat` and `bb_gtTraining_<class>.mat` have the boxes of each
frame. A video with test boxes is a test video.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from colocam.data.prepare.mat_files import read_pairs, read_ranges
from colocam.data.prepare.source_set import Faults, SourceSet, SourceShot, walk
from colocam.data.records import Box
from colocam.runtime.errors import UserError

PUBLISHED = {
    "classes": 10,
    "videos": 155,
    "frames": 722_040,
    "test videos": 49,
    "test frames": 1781,
    "test boxes": 2667,
}
VALIDATION_VIDEOS = 3  # per class
_FRAME = re.compile(r"\d{8}\.jpg", re.ASCII | re.IGNORECASE)
_TABLE = re.compile(r"(ranges|bb_gtTest|bb_gtTraining)_(.+)\.mat")
_GAP = "missing frames of shots"
_TWICE = "frames in two shots, kept in the first"
_OUTSIDE = "frames in no shot, skipped"
_NO_FRAME = "boxed frames that are missing, empty or in no shot, skipped"
_UNUSED = "frames of test videos with training boxes, boxes not used"

Boxes = dict[int, tuple[Box, ...]]
"""Boxes by frame number."""


@dataclass
class _ClassFiles:
    """Files of one class.

    Attributes:
        name: name of the class.
        folder: folder of its frames; None if it has no frames.
        frames: file names by frame number.
        empty: numbers of zero-byte frames.
        tables: paths of its tables by kind.
    """

    name: str
    folder: Path | None = None
    frames: dict[int, str] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)
    tables: dict[str, Path] = field(default_factory=dict)


def read_v2(roots: Sequence[Path], faults: Faults, annotations: bool) -> SourceSet:
    """Reads frames and tables at any depth below the roots, and divides the frames into shots.

    Shots are numbered from 0 within a class, in the order of the table.

    Args:
        roots: folders to search; a class may be in several of them.
        faults: receives corrected and skipped items.
        annotations: whether to read boxes; not needed with given split files.

    Raises:
        UserError: there are no frames in this layout, a class has no tables, frames of a class are
            in two folders, or a file cannot be read.
    """
    classes = _list_classes(roots, faults)
    for name in sorted(name for name, class_files in classes.items() if not class_files.frames):
        faults.add("classes with tables but without frames, skipped", name)
    classes = {
        name: class_files for name, class_files in sorted(classes.items()) if class_files.frames
    }
    if not classes:
        raise UserError(f"{roots[0]}: holds no frames laid out as <class>/<8 digits>.jpg")
    shots: list[SourceShot] = []
    tests: set[str] = set()
    videos: set[str] = set()
    num_shots = 0
    for class_files in classes.values():
        ranges = read_ranges(_table(class_files, "ranges", "Ranges"))
        num_shots += len(ranges)
        videos |= {_video_id(class_files.name, video) for _, _, video in ranges}
        cut = _cut(class_files, ranges, faults)
        if annotations:
            cut, of_class = _with_boxes(class_files, cut, faults)
            tests |= of_class
        shots += cut
    counts = {
        "classes": len(classes),
        "videos": len(videos),
        "shots": num_shots,
        "frames": sum(len(class_files.frames) for class_files in classes.values()),
    }
    if not shots:
        raise UserError(f"{roots[0]}: no frame is in a shot of Ranges/ranges_<class>.mat")
    return SourceSet(tuple(shots), frozenset(tests), counts)


def _list_classes(roots: Sequence[Path], faults: Faults) -> dict[str, _ClassFiles]:
    """Frames and tables below the roots by class name."""
    classes: dict[str, _ClassFiles] = {}
    for folder, files in walk(roots, faults):
        frames = [file for file in files if _FRAME.fullmatch(file.name)]
        if frames:
            class_files = classes.setdefault(folder.name, _ClassFiles(folder.name))
            if class_files.folder:
                raise UserError(
                    f"{folder}: frames of {class_files.name} are in {class_files.folder} too"
                )
            class_files.folder = folder
            class_files.frames = {int(file.name[:8]): file.name for file in frames}
            class_files.empty = {int(file.name[:8]) for file in frames if not file.stat().st_size}
        for file in files:
            if match := _TABLE.fullmatch(file.name):
                class_files = classes.setdefault(match[2], _ClassFiles(match[2]))
                class_files.tables[match[1]] = Path(file.path)
    return classes


def _table(class_files: _ClassFiles, kind: str, folder: str) -> Path:
    if kind not in class_files.tables:
        raise UserError(
            f"{folder}/{kind}_{class_files.name}.mat: not found, but {class_files.folder} has "
            "frames; add it"
        )
    return class_files.tables[kind]


def _video_id(name: str, video: int) -> str:
    return f"{name}/video-{video:04d}"


def _cut(
    class_files: _ClassFiles, ranges: list[tuple[int, int, int]], faults: Faults
) -> list[SourceShot]:
    """Shots with at least one frame, without boxes."""
    assert class_files.folder is not None  # set with the frames
    numbers = sorted(class_files.frames)
    used: set[int] = set()
    shots = []
    for column, (first, last, video) in enumerate(ranges):
        shot = f"{_video_id(class_files.name, video)}/shot-{column:06d}"
        inside = numbers[bisect_left(numbers, first) : bisect_right(numbers, last)]
        faults.add(_GAP, shot, last - first + 1 - len(inside))
        for number in inside:
            if number in used:
                faults.add(_TWICE, f"{shot}/{class_files.frames[number]}")
            elif number in class_files.empty:
                faults.add("zero-byte frames skipped", f"{shot}/{class_files.frames[number]}")
        frames = [
            class_files.frames[number]
            for number in inside
            if number not in used and number not in class_files.empty
        ]
        used.update(inside)
        if frames:
            shots.append(
                SourceShot(shot, class_files.name, os.fspath(class_files.folder), tuple(frames))
            )
        else:
            faults.add("empty shots skipped", shot)
    outside = sorted(set(numbers) - used)
    if outside:
        faults.add(_OUTSIDE, f"{class_files.name}/{class_files.frames[outside[0]]}", len(outside))
    return shots


def _with_boxes(
    class_files: _ClassFiles, shots: list[SourceShot], faults: Faults
) -> tuple[list[SourceShot], set[str]]:
    """Shots with their boxes, and the ids of the test videos."""
    folder = f"GroundTruth/{class_files.name}"
    test = _read_boxes(class_files, _table(class_files, "bb_gtTest", folder), faults)
    training = _read_boxes(class_files, _table(class_files, "bb_gtTraining", folder), faults)
    videos = {int(frame[:8]): shot.video for shot in shots for frame in shot.frames}
    for number in sorted((test.keys() | training.keys()) - videos.keys()):
        faults.add(_NO_FRAME, f"{class_files.name}{number:08d}")
    tests = {videos[number] for number in test if number in videos}
    for number in sorted(training.keys() - test.keys()):
        if videos.get(number) in tests:
            faults.add(_UNUSED, f"{class_files.name}{number:08d}")
    boxed = []
    for shot in shots:
        boxes = test if shot.video in tests else training
        of_shot = {f: boxes[int(f[:8])] for f in shot.frames if boxes.get(int(f[:8]))}
        boxed.append(replace(shot, boxes=of_shot))
    return boxed, tests


def _read_boxes(class_files: _ClassFiles, path: Path, faults: Faults) -> Boxes:
    """Boxes of a table; its ids are class name and frame number."""
    boxes: Boxes = {}
    for name, of_frame in read_pairs(path):
        number = name.removeprefix(class_files.name)
        if not name.startswith(class_files.name) or not re.fullmatch(r"\d{8}", number, re.ASCII):
            raise UserError(f"{path}: the id {name!r} is not {class_files.name!r} and 8 digits")
        if int(number) in boxes:
            faults.add("frames listed twice with boxes, all their boxes kept", name)
        boxes[int(number)] = boxes.get(int(number), ()) + of_frame
    return boxes
