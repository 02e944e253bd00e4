"""A data set as it lies in its published form, before it is laid out: shots, frames, boxes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colocam.data.layouts.split_layout import video_of
from colocam.data.records import Box
from colocam.runtime.errors import UserError


class Faults:
    """What was mended or left out: for each kind how often, and where first."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, fault: str, where: str, number: int = 1) -> None:
        """Counts a fault; 0 of them are none."""
        if number:
            count, first = self._found.get(fault, (0, where))
            self._found[fault] = (count + number, first)

    def lines(self) -> list[str]:
        """A line a kind, for the user."""
        return [f"{fault}: {n} (first: {where})" for fault, (n, where) in self._found.items()]


@dataclass(frozen=True)
class FoundShot:
    """A shot with at least one frame.

    Attributes:
        id: its folder in the layout, as split files name it.
        class_name: of its video.
        folder: where its frames lie now.
        frames: their file names, sorted; zero-byte ones are left out.
        boxes: by file name, as they are written.
    """

    id: str
    class_name: str
    folder: str
    frames: tuple[str, ...]
    boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)

    @property
    def video(self) -> str:
        """The id of its video."""
        return video_of(self.id)


@dataclass(frozen=True)
class FoundSet:
    """What was found of a set.

    Attributes:
        shots: in the order of their ids.
        test_videos: ids of the videos that are kept for testing.
        counts: what lies there, before anything was left out: classes, videos, shots, frames.
    """

    shots: tuple[FoundShot, ...]
    test_videos: frozenset[str]
    counts: Mapping[str, int]


def walk(roots: Sequence[Path]) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Every folder at and below the roots, with the files in it, sorted by name.

    What is hidden is passed over; links to folders are followed, each folder is seen once.

    Raises:
        UserError: a folder cannot be listed.
    """
    pending, seen = list(reversed(roots)), set()
    while pending:
        folder = pending.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        folders, files = _list(folder)
        pending += [Path(entry.path) for entry in reversed(folders)]
        yield folder, files


def _list(folder: Path) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """(folders, files) in a folder."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
        return [e for e in visible if e.is_dir()], [e for e in visible if e.is_file()]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from error
