"""YouTube-Objects v2.2 as published: a folder of frames a class, shots and boxes in tables.

`<class>/<8 digits>.jpg`; `Ranges/ranges_<class>.mat`, a column a shot; and
`GroundTruth/<class>/bb_gtTest_<class>.mat` and `bb_gtTraining_<class>.mat`, the boxes of each frame
(Kalogeiton et al. 2016). A video with test boxes is a test video.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from colocam.data.prepare.mat_files import read_pairs, read_ranges
from colocam.data.prepare.source_set import Faults, FoundSet, FoundShot, walk
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
VALIDATION_VIDEOS = 3  # of each class
_FRAME = re.compile(r"\d{8}\.jpg", re.ASCII | re.IGNORECASE)
_TABLE = re.compile(r"(ranges|bb_gtTest|bb_gtTraining)_(.+)\.mat")
_GAP = "frames of shots that are missing"
_TWICE = "frames that stand in two shots, kept in the first"
_OUTSIDE = "frames outside every shot left out"
_NO_FRAME = "boxed frames that are missing, empty or in no shot left out"
_UNUSED = "frames with training boxes in test videos, boxes not used"

Boxes = dict[int, tuple[Box, ...]]  # by frame number


@dataclass
class _Class:
    """What lies there of one class: its frames by number, and its tables by kind."""

    name: str
    folder: Path | None = None
    frames: dict[int, str] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)
    tables: dict[str, Path] = field(default_factory=dict)


def find_v2(roots: Sequence[Path], faults: Faults, annotations: bool) -> FoundSet:
    """Finds frames and tables at any depth below the roots, and cuts the frames into shots.

    Shots are numbered from 0 within a class, in the order of the table.

    Args:
        roots: folders to look through; a class may lie in several of them.
        faults: receives what is left out or put right.
        annotations: read boxes too; not needed where split files are given.

    Raises:
        UserError: no frames in this layout, a class without its tables, frames of a class found
            twice, or a file that cannot be read.
    """
    classes = _look(roots)
    for name in sorted(name for name, found in classes.items() if not found.frames):
        faults.add("classes with tables but without frames left out", name)
    classes = {name: found for name, found in sorted(classes.items()) if found.frames}
    if not classes:
        raise UserError(f"{roots[0]}: holds no frames laid out as <class>/<8 digits>.jpg")
    shots: list[FoundShot] = []
    tests: set[str] = set()
    videos: set[str] = set()
    num_shots = 0
    for found in classes.values():
        ranges = read_ranges(_table(found, "ranges", "Ranges"))
        num_shots += len(ranges)
        videos |= {_video_id(found.name, video) for _, _, video in ranges}
        cut = _cut(found, ranges, faults)
        if annotations:
            cut, of_class = _with_boxes(found, cut, faults)
            tests |= of_class
        shots += cut
    counts = {
        "classes": len(classes),
        "videos": len(videos),
        "shots": num_shots,
        "frames": sum(len(found.frames) for found in classes.values()),
    }
    if not shots:
        raise UserError(f"{roots[0]}: not one frame lies in a shot of Ranges/ranges_<class>.mat")
    return FoundSet(tuple(shots), frozenset(tests), counts)


def _look(roots: Sequence[Path]) -> dict[str, _Class]:
    classes: dict[str, _Class] = {}
    for folder, files in walk(roots):
        frames = [file for file in files if _FRAME.fullmatch(file.name)]
        if frames:
            found = classes.setdefault(folder.name, _Class(folder.name))
            if found.folder:
                raise UserError(f"{folder}: frames of {found.name} lie in {found.folder} too")
            found.folder = folder
            found.frames = {int(file.name[:8]): file.name for file in frames}
            found.empty = {int(file.name[:8]) for file in frames if not file.stat().st_size}
        for file in files:
            if match := _TABLE.fullmatch(file.name):
                found = classes.setdefault(match[2], _Class(match[2]))
                found.tables[match[1]] = Path(file.path)
    return classes


def _table(found: _Class, kind: str, folder: str) -> Path:
    if kind not in found.tables:
        raise UserError(
            f"{folder}/{kind}_{found.name}.mat: not found, but frames in {found.folder}; add it"
        )
    return found.tables[kind]


def _video_id(name: str, video: int) -> str:
    return f"{name}/video-{video:04d}"


def _cut(found: _Class, ranges: list[tuple[int, int, int]], faults: Faults) -> list[FoundShot]:
    """The shots that have frames, without boxes."""
    numbers = sorted(found.frames)
    taken: set[int] = set()
    shots = []
    for column, (first, last, video) in enumerate(ranges):
        shot = f"{_video_id(found.name, video)}/shot-{column:06d}"
        inside = numbers[bisect_left(numbers, first) : bisect_right(numbers, last)]
        faults.add(_GAP, shot, last - first + 1 - len(inside))
        for number in inside:
            if number in taken:
                faults.add(_TWICE, f"{shot}/{found.frames[number]}")
            elif number in found.empty:
                faults.add("zero-byte frames left out", f"{shot}/{found.frames[number]}")
        frames = [
            found.frames[number]
            for number in inside
            if number not in taken and number not in found.empty
        ]
        taken.update(inside)
        if frames:
            shots.append(FoundShot(shot, found.name, os.fspath(found.folder), tuple(frames)))
        else:
            faults.add("empty shots left out", shot)
    outside = sorted(set(numbers) - taken)
    if outside:
        faults.add(_OUTSIDE, f"{found.name}/{found.frames[outside[0]]}", len(outside))
    return shots


def _with_boxes(
    found: _Class, shots: list[FoundShot], faults: Faults
) -> tuple[list[FoundShot], set[str]]:
    """The shots with their boxes, and the ids of the test videos."""
    place = f"GroundTruth/{found.name}"
    test = _read_boxes(found, _table(found, "bb_gtTest", place), faults)
    training = _read_boxes(found, _table(found, "bb_gtTraining", place), faults)
    videos = {int(frame[:8]): shot.video for shot in shots for frame in shot.frames}
    for number in sorted((test.keys() | training.keys()) - videos.keys()):
        faults.add(_NO_FRAME, f"{found.name}{number:08d}")
    tests = {videos[number] for number in test if number in videos}
    for number in sorted(training.keys() - test.keys()):
        if videos.get(number) in tests:
            faults.add(_UNUSED, f"{found.name}{number:08d}")
    boxed = []
    for shot in shots:
        boxes = test if shot.video in tests else training
        of_shot = {f: boxes[int(f[:8])] for f in shot.frames if boxes.get(int(f[:8]))}
        boxed.append(replace(shot, boxes=of_shot))
    return boxed, tests


def _read_boxes(found: _Class, path: Path, faults: Faults) -> Boxes:
    boxes: Boxes = {}
    for name, of_frame in read_pairs(path):
        number = name.removeprefix(found.name)
        if not name.startswith(found.name) or not re.fullmatch(r"\d{8}", number, re.ASCII):
            raise UserError(f"{path}: the id {name!r} is not {found.name!r} and 8 digits")
        if int(number) in boxes:
            faults.add("frames listed twice with boxes, all their boxes kept", name)
        boxes[int(number)] = boxes.get(int(number), ()) + of_frame
    return boxes
