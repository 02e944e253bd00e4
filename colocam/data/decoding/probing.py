"""Probing: number of frames, size and seek points of a video file.

Common files are not decoded for it: where every packet has a time stamp of its own, they are the
frames, which the time stamps number. The first ones are decoded all the same and compared. Every
other file, a truncated one among them, is decoded once.
"""

from __future__ import annotations

from bisect import bisect_left
from contextlib import closing
from dataclasses import astuple
from itertools import pairwise
from typing import Any

from av.error import FFmpegError

from colocam.data.decoding.capture import Capture, open_container
from colocam.data.decoding.seeking import SEEK_POINT_INTERVAL, SeekPoint, make_seek_point
from colocam.runtime.errors import UserError

_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})  # by FFmpeg's names
# Packets of other codecs, as MPEG-4 and VP8, may regularly have no frame, or two.
_INTRA = frozenset({"mjpeg", "prores"})  # every frame is a key frame
_CODECS = _INTRA | {"h264", "hevc", "vp9", "av1"}
_COMPARED = 16  # frames


def probe(path: str) -> dict[str, Any]:
    """Probes a video file.

    Args:
        path: path of the file.

    Returns:
        The record of it, whose keys are a file format.

    Raises:
        UserError: no frame can be decoded.
    """
    probed = _probe_packets(path)
    if probed is None:
        probed = _probe_frames(path, None)
        if probed["damaged"]:
            probed = _probe_frames(path, 1) | {"damaged": True}
    if probed["size"] is None:
        raise UserError(f"{path}: cannot be decoded; re-encode it or remove it")
    return probed


def are_missing(num_frames: int, reported: float) -> bool:
    """Returns whether noticeably fewer frames can be decoded than reported."""
    return reported > 1.05 * num_frames + 2


def _probe_packets(path: str) -> dict[str, Any] | None:
    """Probes a file by its packets; None if they may not be the frames."""
    found = _packets(path)
    if found is None:
        return None
    stamps, keys = found
    with closing(Capture(path)) as capture:
        times = [capture.time_of(stamp) for stamp in stamps]
        size = _size_if_frames_are(times[:_COMPARED], capture)
        reported, damaged = capture.reported_frames, capture.damaged
    if size is None or are_missing(len(times), reported):
        return None
    return {
        "num_frames": len(times),
        "size": size,
        "landmarks": [astuple(point) for point in _seek_points(stamps, keys, times)],
        "promised": reported,
        "reaches_end": True,
        "steps": (len(times) - 1, times[-1] - times[0]),
        "damaged": damaged,
        "stamps": stamps,
    }


def _packets(path: str) -> tuple[list[int], list[int]] | None:
    """Reads the packets of a video file.

    Returns:
        Their time stamps, and those of the key frames, in the order of time; None if time stamps do
        not number the frames.
    """
    stamps: list[int] = []
    keys: list[int] = []
    try:
        container, stream = open_container(path, 1)
        with container:
            codec = stream.codec_context.codec.canonical_name  # that of libdav1d is av1
            if container.format.name not in _CONTAINERS or codec not in _CODECS:
                return None
            for packet in container.demux(stream):
                if packet.dts is None and not packet.size:  # the last one
                    continue
                if packet.pts is None or packet.is_corrupt or packet.is_discard or not packet.size:
                    return None
                stamps.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
            if stream.frames not in (0, len(stamps)):
                return None
            if codec not in _INTRA and len(keys) == len(stamps) > 1:  # some files call all so
                return None
    except (FFmpegError, IndexError):
        return None
    if not stamps or not keys or not stamps[0] == keys[0] == min(stamps):
        return None
    stamps.sort()
    return None if any(a == b for a, b in pairwise(stamps)) else (stamps, sorted(keys))


def _size_if_frames_are(times: list[float], capture: Capture) -> tuple[int, int] | None:
    """Decodes the first frames; (width, height) if they have the given times, otherwise None.

    Frames that the decoder leaves out for damage may lack.
    """
    size, number = None, 0
    while number < len(times) and capture.grab():
        while capture.damaged and number < len(times) and times[number] < capture.time:
            number += 1
        if number < len(times) and capture.time != times[number]:
            return None
        if size is None and (frame := capture.retrieve()) is not None:
            size = frame.shape[1], frame.shape[0]
        number += 1
    return size if number >= len(times) else None


def _seek_points(stamps: list[int], keys: list[int], times: list[float]) -> list[SeekPoint]:
    """Key frames as seek points, at least `SEEK_POINT_INTERVAL` frames apart."""
    points: list[SeekPoint] = []
    last = 0
    for key in keys:
        index = bisect_left(stamps, key)
        if index >= last + SEEK_POINT_INTERVAL:
            points.append(SeekPoint(index, times[index], None))
            last = index
    return points


def _probe_frames(path: str, threads: int | None) -> dict[str, Any]:
    """Probes a file by decoding it; `threads` as of `Capture`."""
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
        if not reaches_end and are_missing(num_frames, reported) and rate > 0:
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
