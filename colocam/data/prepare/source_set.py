"""Source data set: shots, frames and boxes of a published data set in its own layout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colocam.data.file_order import natural_key
from colocam.data.layouts.split_layout import video_of
from colocam.data.not_data import is_system_name
from colocam.data.records import Box
from colocam.runtime.errors import UserError


class Faults:
    """Counts of corrected and skipped items by kind, with the first item of each kind."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, fault: str, where: str, number: int = 1) -> None:
        """Counts `number` faults of a kind; `where` names the first of them."""
        if number:
            count, first = self._found.get(fault, (0, where))
            self._found[fault] = (count + number, first)

    def lines(self) -> list[str]:
        """Returns one line per kind, for the user."""
        return [f"{fault}: {n} (first: {where})" for fault, (n, where) in self._found.items()]


@dataclass(frozen=True)
class SourceShot:
    """Shot with at least one frame.

    Attributes:
        id: folder of the shot in the data folder, as in split files.
        class_name: class of its video.
        folder: folder that contains its frames.
        frames: file names of the frames, in natural order; zero-byte files are skipped.
        boxes: boxes by file name, as published.
    """

    id: str
    class_name: str
    folder: str
    frames: tuple[str, ...]
    boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)

    @property
    def video(self) -> str:
        """Id of the video that contains the shot."""
        return video_of(self.id)


@dataclass(frozen=True)
class SourceSet:
    """Source data set.

    Attributes:
        shots: shots in the order of their ids.
        test_videos: ids of the test videos.
        counts: numbers of classes, videos, shots and frames, skipped ones included.
    """

    shots: tuple[SourceShot, ...]
    test_videos: frozenset[str]
    counts: Mapping[str, int]


def walk(
    roots: Sequence[Path], faults: Faults | None = None
) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Walks all folders at and below the roots; yields each with its files, in natural order.

    Hidden files and folders and those of systems are skipped. Links to folders are followed; each
    folder is visited once.

    Args:
        roots: the folders.
        faults: receives skipped files and folders of systems.

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
        folders, files = _list(folder, faults)
        pending += [Path(entry.path) for entry in reversed(folders)]
        yield folder, files


def _list(
    folder: Path, faults: Faults | None
) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """(folders, files) in a folder."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: natural_key(entry.name))
        system = {entry.name for entry in entries if is_system_name(entry.name)}
        if faults is not None and system:
            first = f"{folder}/{min(system)}"
            faults.add("files and folders of the system skipped", first, len(system))
        visible = [e for e in entries if e.name not in system and not e.name.startswith(".")]
        return [e for e in visible if e.is_dir()], [e for e in visible if e.is_file()]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from error
