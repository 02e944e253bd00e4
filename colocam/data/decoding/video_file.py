"""Video files as frame sources: opening and decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np

from colocam.data.decoding.capture import Capture, Decoder, gpu_decodes, gpu_error
from colocam.data.decoding.checks import check_indices, check_name
from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.decoding.probing import are_missing, probe
from colocam.data.decoding.seeking import SEEK_POINT_INTERVAL, SeekPoint, seek
from colocam.runtime.errors import UserError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg"}
    | {".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Suffixes of video files, in lower case."""

_PROBE_VERSION = 5  # to be incremented when the results of `probe` change otherwise
_NUMBERING_VERSION = 2  # to be incremented when frames get other numbers or pixels


def is_video_file(name: str) -> bool:
    """Returns whether a file name has the suffix of a video and is not hidden."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")


@dataclass(frozen=True)
class VideoFrames:
    """`FrameSource` of a video file; frames are numbered as they are shown.

    Every `read` opens the file and decodes it once, from the last seek point before the first
    requested frame (from the start of the file if seeking fails, see
    `colocam.data.decoding.seeking`) to the last one; no file stays open between calls. The rotation
    stored in the file is applied.

    Attributes:
        path: path of the file.
        name: name for messages and records.
        num_frames: number of frames.
        size: (width, height) of the frames, pixels.
        seek_points: verified positions in the file, sorted by frame number.
        reported_frames: number of frames that the container reports; a truncated file has fewer.
        damaged: whether a packet could not be decoded when the file was probed; one thread decodes
            such a file, as pixels of frames after damage may depend on the timing of several.
        steps: number and sum (ms) of the steps between the time stamps of consecutive frames; steps
            from or to a missing time stamp, or back as in joined transport streams, are left out.
        stamps: time stamps of the frames, increasing, in units of the stream, which number frames
            where the decoder leaves some out; empty where they do not identify frames.
        decoder: of the file, see `colocam.data.decoding.capture`.
    """

    path: str
    name: str
    num_frames: int
    size: tuple[int, int]
    seek_points: tuple[SeekPoint, ...] = ()
    reported_frames: int = 0
    damaged: bool = False
    steps: tuple[int, float] = (0, 0.0)
    stamps: tuple[int, ...] = field(default=(), repr=False, compare=False)
    decoder: Decoder = "cpu"

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
        due = start
        for index, frame in self._decode(range(start, stop), start, stop - 1, side):
            yield from [None] * (index - due)
            yield frame
            due = index + 1
        yield from [None] * (stop - due)

    def frame_size(self, index: int) -> tuple[int, int]:
        """Returns the (width, height) of a frame, which is the same for all frames."""
        check_indices(self, [index])
        return self.size

    def decoded_by_gpu(self, notes: list[str] | None = None) -> VideoFrames:
        """Returns the same video, decoded by the video decoder of an NVIDIA GPU.

        Args:
            notes: gets a line if the GPU cannot decode this video, which the CPU then does.

        Raises:
            UserError: there is none.
        """
        if reason := gpu_error(self.path):
            raise UserError(
                f"{self.path}: no GPU that decodes video ({reason}); leave out --decoder gpu"
            )
        if gpu_decodes(self.path):
            return replace(self, decoder="gpu")
        if notes is not None:
            notes.append(f"{self.name}: the GPU does not decode it; the CPU does")
        return self

    @property
    def times(self) -> list[float]:
        """Times of the frames from the first one, seconds; empty without `stamps`."""
        if not self.stamps:
            return []
        first, last = self.stamps[0], self.stamps[-1]
        unit = self.steps[1] / 1000 / max(1, last - first)
        return [unit * (stamp - first) for stamp in self.stamps]

    def capture(self, threads: int | None = None) -> closing[Capture]:
        """Opens the file; the context closes it.

        Args:
            threads: of the decoder, as of `Capture`; a damaged file is decoded by one.
        """
        threads = 1 if self.damaged else threads
        return closing(Capture(self.path, threads, self.decoder, self.size))

    def grabbed(self, capture: Capture, start: int = 0) -> Iterator[int]:
        """Grabs the frames of a capture and yields their numbers.

        With `stamps`, numbers of frames that the decoder leaves out for damage are skipped.

        Args:
            capture: of this file.
            start: number of the next frame.
        """
        due = start
        while capture.grab():
            number = self._number(capture.stamp) if self.stamps else due
            if number is None or number < due:
                continue  # not the frame of a packet
            yield number
            due = number + 1

    def _number(self, stamp: int | None) -> int | None:
        """Number of the frame with a time stamp, None if there is none."""
        if stamp is None:
            return None
        index = bisect_left(self.stamps, stamp)
        return index if self.stamps[index : index + 1] == (stamp,) else None

    def _decode(
        self, indices: Container[int], first: int, last: int, side: int | None
    ) -> Iterator[tuple[int, np.ndarray | None]]:
        """Decodes those frames of first … last that are in `indices`, with their numbers."""
        later = bisect_left(self.seek_points, first, key=lambda point: point.index)
        starts = [*self.seek_points[max(0, later - 1) : later], None]
        threads = None
        while starts:
            with self.capture(threads) as capture:
                for index in self._grabbed_behind(starts[0], capture):
                    if capture.damaged and not capture.repeats:
                        break
                    if first <= index <= last and index in indices:
                        yield index, capture.retrieve(side)
                        first = index + 1
                    if index >= last:
                        return
                if capture.damaged and not capture.repeats:
                    threads = 1
                else:  # the file may end too early after a seek: the rest is decoded from its start
                    del starts[0]

    def _grabbed_behind(self, point: SeekPoint | None, capture: Capture) -> Iterator[int]:
        """Grabs the frames behind a seek point; none if it is not reached."""
        if point is None:
            yield from self.grabbed(capture)
        elif seek(capture, point):
            yield from self.grabbed(capture, point.index + 1)


def frames_version() -> str:
    """What numbers and pixels of the frames of a video file depend on besides the file.

    This text enters the names of records on disk: another wording invalidates them.
    """
    return f"PyAV {av.__version__}, frames {_NUMBERING_VERSION}"


def open_video_file(
    path: Path, name: str, notes: list[str], probe_cache: ProbeCache | None = None
) -> VideoFrames:
    """Opens a video file. See `open_video`."""
    check_name(path, str(path))  # FFmpeg accepts only UTF-8
    if probe_cache is None:
        probed = probe(str(path))
    else:
        # This text enters the names of records on disk, as that of `frames_version`.
        key = f"probe {_PROBE_VERSION}, a landmark in {SEEK_POINT_INTERVAL}, {frames_version()}"
        probed = probe_cache.get_or_probe([str(path)], key, lambda: probe(str(path)))
    num_frames, reported = probed["num_frames"], probed["promised"]
    if are_missing(num_frames, reported) and not probed["reaches_end"]:
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
        tuple(probed.get("stamps", ())),
    )
