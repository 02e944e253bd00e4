"""Video files as frame sources: probing, opening and decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from colocam.data.decoding.capture import Capture
from colocam.data.decoding.checks import check_indices, check_name
from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.decoding.seeking import SEEK_POINT_INTERVAL, SeekPoint, make_seek_point, seek
from colocam.runtime.errors import UserError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg"}
    | {".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Suffixes of video files, in lower case."""

_PROBE_VERSION = 4  # to be incremented when the results of `_probe` change


def is_video_file(name: str) -> bool:
    """Returns whether a file name has the suffix of a video and is not hidden."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")


@dataclass(frozen=True)
class VideoFrames:
    """`FrameSource` of a video file; frames are numbered in decoding order.

    Every `read` opens the file and decodes it once, from the last seek point before the first
    requested frame (from the start of the file if seeking fails, see
    `colocam.data.decoding.seeking`) to the last one; no file stays open between calls. The rotation
    stored in the file is applied.

    Attributes:
        path: path of the file.
        name: name for messages and records.
        num_frames: number of frames that can be decoded.
        size: (width, height) of the frames, pixels.
        seek_points: verified positions in the file, sorted by frame number.
        reported_frames: number of frames that the container reports; a truncated file has fewer.
        damaged: whether packets are missing or cannot be decoded; one thread decodes such a file,
            as frames after damage depend on the timing of several.
        steps: number and sum (ms) of the steps between the time stamps of consecutive frames; steps
            from or to a missing time stamp, or back as in joined transport streams, are left out.
    """

    path: str
    name: str
    num_frames: int
    size: tuple[int, int]
    seek_points: tuple[SeekPoint, ...] = ()
    reported_frames: int = 0
    damaged: bool = False
    steps: tuple[int, float] = (0, 0.0)

    def __len__(self) -> int:
        return self.num_frames

    def read(self, indices: Sequence[int], side: int | None = None) -> list[np.ndarray | None]:
        """See `FrameSource.read`; with `side`, frames are resized to side × side."""
        check_indices(self, indices)
        if not len(indices):
            return []
        found = dict(self._decode(set(indices), min(indices), max(indices), side))
        return [found.get(index) for index in indices]

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return self.between(0, self.num_frames)

    def between(
        self, start: int, stop: int, side: int | None = None
    ) -> Iterator[np.ndarray | None]:
        """Decodes the frames start … stop − 1 in one pass, one at a time; `side` as in `read`."""
        indices = range(start, stop)
        done = 0
        for _, frame in self._decode(indices, start, stop - 1, side):
            yield frame
            done += 1
        yield from [None] * (len(indices) - done)

    def frame_size(self, index: int) -> tuple[int, int]:
        """Returns the (width, height) of a frame, which is the same for all frames."""
        check_indices(self, [index])
        return self.size

    def capture(self) -> closing[Capture]:
        """Opens the file; the context closes it."""
        return closing(Capture(self.path, 1 if self.damaged else None))

    def _decode(
        self, indices: Container[int], first: int, last: int, side: int | None
    ) -> Iterator[tuple[int, np.ndarray | None]]:
        """Decodes those frames of first … last that are in `indices`, with their numbers."""
        later = bisect_left(self.seek_points, first, key=lambda point: point.index)
        for point in (*self.seek_points[max(0, later - 1) : later], None):
            with self.capture() as capture:
                if point is not None and not seek(capture, point):
                    continue
                for index in range(0 if point is None else point.index + 1, last + 1):
                    # A file may end too early after a seek: the rest is decoded from its start.
                    if not capture.grab():
                        break
                    if index >= first and index in indices:
                        yield index, capture.retrieve(side)
                        first = index + 1
                else:
                    return


def open_video_file(
    path: Path, name: str, notes: list[str], probe_cache: ProbeCache | None = None
) -> VideoFrames:
    """Opens a video file; decodes it once to count its frames. See `open_video`."""
    check_name(path, str(path))  # FFmpeg accepts only UTF-8
    if probe_cache is None:
        probed = _probe(str(path))
    else:
        # This text enters the names of records on disk: another wording invalidates them.
        key = f"frames {_PROBE_VERSION}, a landmark in {SEEK_POINT_INTERVAL}, PyAV {av.__version__}"
        probed = probe_cache.get_or_probe([str(path)], key, lambda: _probe(str(path)))
    num_frames, reported = probed["num_frames"], probed["promised"]
    if _are_missing(num_frames, reported) and not probed["reaches_end"]:
        notes.append(
            f"{name}: container reports {reported:.0f} frames but only {num_frames} decode; those "
            "are used (truncated file?)"
        )
    seek_points = tuple(SeekPoint(*values) for values in probed["landmarks"])
    return VideoFrames(
        str(path),
        name,
        num_frames,
        tuple(probed["size"]),
        seek_points,
        round(reported),
        probed["damaged"],
        tuple(probed["steps"]),
    )


def _probe(path: str) -> dict[str, Any]:
    """Decodes a video file once and returns the record of it, whose keys are a file format."""
    probed = _decode_all(path, None)
    if probed["damaged"]:
        probed = _decode_all(path, 1) | {"damaged": True}
    if probed["size"] is None:
        raise UserError(f"{path}: cannot be decoded; re-encode it or remove it")
    return probed


def _decode_all(path: str, threads: int | None) -> dict[str, Any]:
    """Counts the frames of a video and makes its seek points."""
    size, num_frames = None, 0
    seek_points: list[SeekPoint] = []
    end = 0.0  # latest time stamp, ms; the last frames of some containers have none
    steps = _Steps()
    with closing(Capture(path, threads)) as capture:
        while capture.grab():
            time = capture.time
            steps.add(time)
            # A time stamp that occurs twice, as in joined transport streams, identifies no frame.
            while seek_points and 0 < time <= seek_points[-1].time:
                seek_points.pop()
            if size is None and (frame := capture.retrieve()) is not None:
                size = frame.shape[1], frame.shape[0]
            if num_frames and num_frames % SEEK_POINT_INTERVAL == 0 and time > end:
                point = make_seek_point(capture, num_frames)
                seek_points += [] if point is None else [point]
            end = max(end, time)
            num_frames += 1
        reported, rate = capture.reported_frames, capture.rate
        # For a variable frame rate the reported number is an estimate, but the duration is exact.
        reaches_end = rate > 0 and end >= 950 * (reported - 2) / rate
        if not reaches_end and _are_missing(num_frames, reported) and rate > 0:
            # The number includes frames that an edit list removes; the duration does not.
            reaches_end = end >= 950 * (capture.duration - 2 / rate)
            reported = num_frames if reaches_end else reported
    return {
        "num_frames": num_frames,
        "size": size,
        "landmarks": [astuple(point) for point in seek_points],
        "promised": reported,
        "reaches_end": reaches_end,
        "steps": (steps.count, steps.total),
        "damaged": capture.damaged,
    }


class _Steps:
    """Number and sum (ms) of the steps between time stamps, see `VideoFrames.steps`."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self._before: float | None = None

    def add(self, time: float) -> None:
        """Adds the time stamp of the next frame."""
        if self._before is not None and time > self._before:
            self.count, self.total = self.count + 1, self.total + time - self._before
        self._before = time if time > 0 or self._before is None else None


def _are_missing(num_frames: int, reported: float) -> bool:
    """Returns whether noticeably fewer frames can be decoded than reported."""
    return reported > 1.05 * num_frames + 2
