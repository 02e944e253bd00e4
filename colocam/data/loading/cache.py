"""Frames for training, decoded and resized once, and then read from a folder of raw files.

An entry holds the frames of a shot that may be drawn, neighbouring frames next to each other (see
`colocam.data.loading.cache_entry`). It is written by the first process that draws from the shot;
what is drawn never depends on the contents of the folder. Its name is a digest of everything its
bytes depend on: paths, sizes and modification times of the files, the frame numbers, the side, the
format, OpenCV's version. A changed file thus gets a new entry, and the old one is evicted when
space is needed.

Several processes may share the folder without locks: an entry is written under another name and
renamed when it is whole; of two that fill the same one the second replaces the first by the same
bytes.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.probe_cache import UNFINISHED, digest_of
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.loading.cache_entry import DamagedEntry, entry_bytes, read_entry, write_entry
from colocam.data.loading.transforms import resized
from colocam.data.records import FrameSource
from colocam.data.shots.shots import ShotFrames

_VERSION = 1  # of what an entry's bytes depend on besides its name's parts: see `resized`
_ENTRY = ".frames"
_LOOKS = 256  # at the folder, while as much is written as it may hold
_ABANDONED = 3600 * 10**9  # ns since an unfinished file last grew: its process was killed


class CacheNews(NamedTuple):
    """What a user should hear of a cache.

    Attributes:
        damaged: names of the shots whose entries were damaged; they were decoded anew.
        ended: lines that tell why nothing more is stored.
    """

    damaged: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


class FrameCache:
    """A folder of resized frames; can be pickled and used by several processes at once.

    Least recently used entries make way for new ones, but never one that was used since the cache
    was opened: every epoch draws from every shot, so that where not all fit, one that goes for
    another would only be missed itself. What does not fit is decoded every time.

    Args:
        folder: is made where it does not exist; nothing else in it is touched.
        max_bytes: that entries may take; processes that write at the same time may exceed it by
            what they are writing, and by 0.4 % each.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._opened = time.time_ns()
        self._paths: dict[tuple[FrameSource, range, int], Path] = {}
        self._held: int | None = None  # bytes when the folder was last looked at
        self._written = 0  # bytes since then, by this process
        self._damaged: list[str] = []
        self._ended: str | None = None
        self._told = False

    def read(
        self, frames: FrameSource, indices: Sequence[int], window: range, side: int
    ) -> list[np.ndarray | None]:
        """Frames of a shot, resized; the same to the last bit whether they were stored or not.

        A frame that could not be decoded when its entry was written is tried again.

        Args:
            frames: of the shot.
            indices: of the frames wanted, at least one, all within `window`.
            window: frame numbers that may ever be asked for: an entry holds these.
            side: to which frames are resized, pixels.

        Returns:
            arrays (side, side, 3) uint8 in the order of `indices`; None for a frame that cannot be
            decoded.
        """
        found = None
        if path := self._path(frames, window, side):
            found = self._stored(path, frames, indices, window, side)
            if found is None and self._store(path, frames, window, side):
                found = self._stored(path, frames, indices, window, side)
        found = found or [None] * len(indices)
        absent = [index for index, frame in zip(indices, found, strict=True) if frame is None]
        decoded = iter(read_resized(frames, absent, side))
        return [next(decoded) if frame is None else frame for frame in found]

    def news(self) -> CacheNews:
        """What happened in this process since it was last asked."""
        told = () if self._ended is None or self._told else (self._ended,)
        news = CacheNews(tuple(self._damaged), told)
        self._damaged, self._told = [], self._ended is not None
        return news

    def _path(self, frames: FrameSource, window: range, side: int) -> Path | None:
        """Where the entry of a shot lies; None for a source that is not known to be files.

        The files are looked at once: later changes are seen by the next run.
        """
        if not isinstance(frames, ImageFrames | VideoFrames | ShotFrames):
            return None
        key = frames, window, side
        if key not in self._paths:
            self._paths[key] = self.folder / f"{_digest(frames, window, side)}{_ENTRY}"
        return self._paths[key]

    def _stored(
        self, path: Path, frames: FrameSource, indices: Sequence[int], window: range, side: int
    ) -> list[np.ndarray | None] | None:
        """Frames of an entry; None where it does not exist or is damaged."""
        try:
            file = path.open("rb", buffering=0)
        except OSError:
            return None
        with file:
            with suppress(OSError):  # a folder that cannot be written can be read all the same
                os.utime(path, ns=(now := time.time_ns(), now))
            try:
                return read_entry(
                    file, len(window), side, [index - window.start for index in indices]
                )
            except (DamagedEntry, OSError):
                self._damaged.append(frames.name)
                return None

    def _store(self, path: Path, frames: FrameSource, window: range, side: int) -> bool:
        """Writes an entry; whether it is there now."""
        if self._ended is not None:
            return False
        unfinished = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{UNFINISHED}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._make_room(entry_bytes(len(window), side)):
                self._ended = (
                    f"{self.folder}: the {self.max_bytes / 1e9:g} GB that it may take do not hold "
                    "all frames; the rest is decoded every time"
                )
                return False
            with unfinished.open("xb") as file:
                write_entry(file, _window_of(frames, window, side), len(window), side)
            os.replace(unfinished, path)
        except OSError as error:
            self._ended = (
                f"{self.folder}: cannot be written ({error.strerror or error}); frames that are "
                "not there yet are decoded every time"
            )
            return False
        finally:
            with suppress(OSError):  # once renamed it is gone
                unfinished.unlink()
        return True

    def _make_room(self, needed: int) -> bool:
        """Whether so many bytes more may be written, after least recently used entries went.

        The folder is looked at when its limit is near, and now and then, for what others wrote.
        """
        self._written += needed
        known = self._held is not None and self._written <= self.max_bytes // _LOOKS
        if known and self._held + self._written <= self.max_bytes:
            return True
        entries = self._entries()
        held = sum(size for _, size, _ in entries)
        going = []
        for used, size, path in entries:
            if held + needed <= self.max_bytes or used >= self._opened:
                break
            going.append(path)
            held -= size
        if held + needed > self.max_bytes:
            return False
        for path in going:
            path.unlink(missing_ok=True)  # who has it mapped keeps it
        self._held, self._written = held, needed
        return True

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Time of last use (ns), bytes and path of all entries, the least recently used first.

        Also of those that others are writing; what a killed process left is removed.
        """
        entries = []
        with os.scandir(self.folder) as files:
            for file in files:
                if not file.name.endswith((_ENTRY, UNFINISHED)):
                    continue
                with suppress(FileNotFoundError):  # another process was faster
                    status = file.stat()
                    used = status.st_mtime_ns
                    if file.name.endswith(UNFINISHED):
                        if used < time.time_ns() - _ABANDONED:
                            os.unlink(file)
                            continue
                        used = time.time_ns()
                    entries.append((used, status.st_size, Path(file.path)))
        return sorted(entries)


def read_resized(frames: FrameSource, indices: Sequence[int], side: int) -> list[np.ndarray | None]:
    """Frames (side, side, 3) uint8, decoded; None where a frame cannot be."""
    return [None if frame is None else resized(frame, side) for frame in frames.read(indices)]


def _window_of(
    frames: ImageFrames | VideoFrames | ShotFrames, window: range, side: int
) -> Iterator[np.ndarray | None]:
    """The frames of a window, resized, one after the other."""
    video, numbers = _of_video(frames, window)
    for frame in video.between(numbers.start, numbers.stop):
        yield None if frame is None else resized(frame, side)


def _of_video(
    frames: ImageFrames | VideoFrames | ShotFrames, window: range
) -> tuple[ImageFrames | VideoFrames, range]:
    """The video that holds the frames of a window, and their numbers in it."""
    if not isinstance(frames, ShotFrames):
        return frames, window
    return frames.video, range(frames.start + window.start, frames.start + window.stop)


def _digest(frames: ImageFrames | VideoFrames | ShotFrames, window: range, side: int) -> str:
    """Of all that the bytes of an entry depend on."""
    frames, window = _of_video(frames, window)
    images = isinstance(frames, ImageFrames)
    files = frames.paths[window.start : window.stop] if images else (frames.path,)
    parts = [_VERSION, cv2.__version__, type(frames).__name__, side, window.start, window.stop]
    return digest_of(parts, files)
