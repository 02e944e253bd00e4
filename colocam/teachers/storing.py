"""Storing of a teacher's maps: resumable, and of one teacher per folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import TimeRemainingColumn

from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.records import BoxedFrame
from colocam.runtime.console import progress_bar
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_atomic
from colocam.runtime.messages import print_unreadable

TEACHER_FILE = "teacher.json"
"""File beside the maps: the settings of their teacher."""


@dataclass(frozen=True)
class MapBatch:
    """Maps of some frames.

    Attributes:
        records: frames with a map.
        maps: (h, w) float each, higher values mean more object; constant: no seeds in this frame.
        unreadable: ids of further frames, which cannot be decoded.
    """

    records: Sequence[BoxedFrame]
    maps: Sequence[np.ndarray]
    unreadable: Sequence[str] = ()


class Teacher(Protocol):
    """Model or file that gives a map for a frame and its tag."""

    def settings(self) -> Mapping[str, Any]:
        """What the maps depend on, JSON-serializable."""

    def batches(self, records: Sequence[BoxedFrame]) -> Iterator[MapBatch]:
        """Computes the maps of frames, each for the tag of its record."""


def store_teacher_maps(
    teacher: Teacher,
    records: Sequence[BoxedFrame],
    folder: Path,
    *,
    overwrite: bool,
    console: Console,
) -> None:
    """Writes the maps of a teacher, each file atomically; maps that are there are kept.

    Args:
        teacher: of the maps.
        records: frames; their labels select the class.
        folder: output folder; its layout is that of `colocam.data.loading.seed_maps`.
        overwrite: computes the maps in the folder anew.
        console: shows the progress.

    Raises:
        UserError: the folder holds maps of another teacher, or cannot be written.
    """
    maps = SeedMaps(folder)
    by_path = {maps.path(record.frames, record.index): record for record in records}
    _check_teacher(folder, teacher.settings(), list(by_path), overwrite)
    missing = [record for path, record in by_path.items() if not path.is_file()]
    unreadable: list[str] = []
    with progress_bar(console, TimeRemainingColumn()) as progress:
        bar = progress.add_task("storing maps", total=len(missing))
        for batch in teacher.batches(missing):
            for record, values in zip(batch.records, batch.maps, strict=True):
                maps.write(record.frames, record.index, values)
            unreadable += batch.unreadable
            progress.advance(bar, len(batch.records) + len(batch.unreadable))
    print_unreadable(console, unreadable)
    kept = len(by_path) - len(missing)
    line = f"{folder}: {len(missing) - len(unreadable)} maps"
    console.print(line + (f", {kept} kept" if kept else ""))


def _check_teacher(
    folder: Path, settings: Mapping[str, Any], paths: Sequence[Path], overwrite: bool
) -> None:
    """Checks that the maps in a folder are of this teacher, or removes them if `overwrite`."""
    file = folder / TEACHER_FILE
    ours = json.loads(json.dumps(settings))  # as it is read
    there = [path for path in paths if path.is_file()]
    if overwrite:
        # Those of other frames are of the former teacher, too.
        former = folder.rglob("*.npy") if file.is_file() and _changed(file, ours) else ()
        for path in {*there, *former}:
            path.unlink(missing_ok=True)
    elif there and not file.is_file():
        raise UserError(
            f"{folder}: holds maps of another origin, such as {there[0].name}; give another --out, "
            "or --overwrite"
        )
    elif file.is_file() and (other := _changed(file, ours)):
        raise UserError(
            f"{folder}: holds maps of another teacher ({other}); give another --out, or --overwrite"
        )
    write_atomic(file, (json.dumps(ours, indent=1, ensure_ascii=False) + "\n").encode())


def _changed(file: Path, ours: Mapping[str, Any]) -> str:
    """First setting of a stored teacher that differs; "" if none does."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        return f"{TEACHER_FILE} cannot be read"
    different = [name for name in {**stored, **ours} if stored.get(name) != ours.get(name)]
    return f"with another {different[0]}" if different else ""
