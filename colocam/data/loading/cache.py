"""Frame cache: decoded and resized training frames, stored on disk as raw files.

An entry contains the frames of a shot that may be drawn, consecutive frames next to each other (see
`colocam.data.loading.cache_entry`). It is written by the first process that draws from the shot;
batches never depend on the contents of the cache. The name of an entry is a digest of everything
that its bytes depend on: paths, sizes and modification times of the files, the frame numbers, the
side, the format, and the decoder with its version. A modified file thus gets a new entry, and the
old one is evicted when space is needed.

Several processes may share the folder without locks: an entry is written under a temporary name and
renamed when it is complete. If two processes write the same entry, the second one replaces the
first one by the same bytes.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import torch

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.probe_cache import UNFINISHED, digest_of
from colocam.data.decoding.resizing import resized
from colocam.data.decoding.video_file import VideoFrames, frames_version
from colocam.data.loading.cache_entry import DamagedEntry, entry_bytes, read_entry, write_entry
from colocam.data.records import FrameSource
from colocam.data.shots.shots import ShotFrames

FileFrames: TypeAlias = ImageFrames | VideoFrames | ShotFrames
"""Frame sources that can be cached: their frames depend only on files."""

_VERSION = 2  # to be incremented when the bytes of an entry change otherwise: see `resized`
_ENTRY = ".frames"
_SCANS = 256  # minimum number of scans of the folder while `max_bytes` are written
_ABANDONED = 3600 * 10**9  # ns since the last write of an unfinished file of a killed process


class CacheWarnings(NamedTuple):
    """Warnings of a frame cache.

    Attributes:
        damaged: names of the shots whose entries were damaged and were decoded again.
        disabled: messages that state why no more entries are stored.
    """

    damaged: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()


class FrameCache:
    """Folder of resized frames; picklable, and shared by several processes.

    Least recently used entries are evicted, except for those used since the cache was opened: every
    epoch draws from every shot, so that evicting one of these would only cause another miss. Shots
    that do not fit are decoded at every draw.

    Args:
        folder: created if it does not exist; other files in it are not changed.
        max_bytes: maximum size of all entries. Concurrent processes may exceed it by what they are
            writing, and by 0.4 % each.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._opened = time.time_ns()
        self._paths: dict[tuple[FrameSource, range, int], Path] = {}
        self._stored_bytes: int | None = None  # at the last scan of the folder
        self._written_bytes = 0  # since then, by this process
        self._damaged: list[str] = []
        self._disabled: str | None = None
        self._reported = False  # whether `_disabled` was returned by `pop_warnings`

    def read(
        self, frames: FrameSource, indices: Sequence[int], window: range, side: int
    ) -> list[np.ndarray | None]:
        """Reads resized frames of a shot; bit-identical whether they are stored or decoded.

        A frame that could not be decoded when its entry was written is decoded again.

        Args:
            frames: frame source of the shot.
            indices: numbers of the frames, at least one, all in `window`.
            window: numbers of the frames that may be drawn, which are stored in the entry.
            side: side of the resized frames, pixels.

        Returns:
            Arrays (side, side, 3) uint8 in the order of `indices`; None for a frame that cannot be
            decoded.
        """
        stored = self._read(frames, indices, window, side)
        found = [None] * len(indices) if stored is None else stored
        missing = [index for index, frame in zip(indices, found, strict=True) if frame is None]
        decoded = iter(read_resized(frames, missing, side))
        return [next(decoded) if frame is None else frame for frame in found]

    def pop_warnings(self) -> CacheWarnings:
        """Returns the warnings of this process since the last call."""
        new = () if self._disabled is None or self._reported else (self._disabled,)
        warnings = CacheWarnings(tuple(self._damaged), new)
        self._damaged, self._reported = [], self._disabled is not None
        return warnings

    def _read(
        self, frames: FrameSource, indices: Sequence[int], window: range, side: int
    ) -> list[np.ndarray | None] | None:
        """Reads frames of an entry, which is written if necessary; None if that is not possible."""
        if not isinstance(frames, FileFrames):
            return None
        path = self._path(frames, window, side)
        found = self._read_entry(path, frames, indices, window, side)
        if found is None and self._store(path, frames, window, side):
            found = self._read_entry(path, frames, indices, window, side)
        return found

    def _path(self, frames: FileFrames, window: range, side: int) -> Path:
        """Returns the path of an entry; files that are modified later get one in the next run."""
        key = frames, window, side
        if key not in self._paths:
            self._paths[key] = self.folder / f"{_digest(frames, window, side)}{_ENTRY}"
        return self._paths[key]

    def _read_entry(
        self, path: Path, frames: FileFrames, indices: Sequence[int], window: range, side: int
    ) -> list[np.ndarray | None] | None:
        """Reads frames of an entry; None if it does not exist or is damaged."""
        try:
            file = path.open("rb", buffering=0)
        except OSError:
            return None
        with file:
            with suppress(OSError):  # a read-only folder can still be read
                os.utime(path, ns=(now := time.time_ns(), now))
            try:
                return read_entry(
                    file, len(window), side, [index - window.start for index in indices]
                )
            except (DamagedEntry, OSError):
                self._damaged.append(frames.name)
                return None

    def _store(self, path: Path, frames: FileFrames, window: range, side: int) -> bool:
        """Writes an entry; returns whether it exists now."""
        if self._disabled is not None:
            return False
        unfinished = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{UNFINISHED}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._reserve(entry_bytes(len(window), side)):
                self._disabled = (
                    f"{self.folder}: not all frames fit into the limit of "
                    f"{self.max_bytes / 1e9:g} GB; the others are decoded in every epoch"
                )
                return False
            with unfinished.open("xb") as file:
                write_entry(file, _decode_window(frames, window, side), len(window), side)
            os.replace(unfinished, path)
        except OSError as error:
            self._disabled = (
                f"{self.folder}: cannot be written ({error.strerror or error}); frames that are "
                "not stored yet are decoded in every epoch"
            )
            return False
        finally:
            with suppress(OSError):  # does not exist once renamed
                unfinished.unlink()
        return True

    def _reserve(self, size: int) -> bool:
        """Evicts least recently used entries; returns whether `size` more bytes may be written.

        The folder is scanned when the limit is near, and regularly for what other processes wrote.
        """
        self._written_bytes += size
        if (
            self._stored_bytes is not None
            and self._written_bytes <= self.max_bytes // _SCANS
            and self._stored_bytes + self._written_bytes <= self.max_bytes
        ):
            return True
        entries = self._entries()
        stored = sum(entry_size for _, entry_size, _ in entries)
        evicted = []
        for used, entry_size, path in entries:
            if stored + size <= self.max_bytes or used >= self._opened:
                break
            evicted.append(path)
            stored -= entry_size
        if stored + size > self.max_bytes:
            return False
        for path in evicted:
            path.unlink(missing_ok=True)  # memory maps of it stay valid
        self._stored_bytes, self._written_bytes = stored, size
        return True

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Returns time of last use (ns), bytes and path of all entries, least recently used first.

        Entries that other processes are writing are included; abandoned ones are removed.
        """
        entries = []
        with os.scandir(self.folder) as files:
            for file in files:
                if not file.name.endswith((_ENTRY, UNFINISHED)):
                    continue
                with suppress(FileNotFoundError):  # removed by another process
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
    """Decodes and resizes frames.

    Args:
        frames: the frame source.
        indices: numbers of the frames.
        side: side of the resized frames, pixels.

    Returns:
        Arrays (side, side, 3) uint8 in the order of `indices`; None for a frame that cannot be
        decoded.
    """
    if isinstance(frames, FileFrames):  # resized before their colors are converted
        return frames.read(indices, side)
    return [None if frame is None else resized(frame, side) for frame in frames.read(indices)]


def _decode_window(frames: FileFrames, window: range, side: int) -> Iterator[np.ndarray | None]:
    """Decodes and resizes the frames of a window, one at a time."""
    video, numbers = _in_video(frames, window)
    return video.between(numbers.start, numbers.stop, side)


def _in_video(frames: FileFrames, window: range) -> tuple[ImageFrames | VideoFrames, range]:
    """Returns the video of the frames of a window, and their numbers in it."""
    if not isinstance(frames, ShotFrames):
        return frames, window
    return frames.video, range(frames.start + window.start, frames.start + window.stop)


def _digest(frames: FileFrames, window: range, side: int) -> str:
    """Returns the digest of everything that the bytes of an entry depend on.

    The parts are a file format: other ones, such as another class name, invalidate all entries.
    """
    video, numbers = _in_video(frames, window)
    if isinstance(video, ImageFrames):
        files = video.paths[numbers.start : numbers.stop]
    else:
        files = (video.path,)
    decoder = cv2.__version__ if isinstance(video, ImageFrames) else frames_version()
    libraries = [decoder, torch.__version__]  # the latter resizes
    parts = [_VERSION, *libraries, type(video).__name__, side, numbers.start, numbers.stop]
    return digest_of(parts, files)
