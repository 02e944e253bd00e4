"""Shots as frame sources: long videos of a plain folder are cut into shots for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colocam.data.decoding.checks import check_indices
from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.decoding.video_file import VideoFrames, frames_version
from colocam.data.records import FrameSource
from colocam.data.shots.detection import find_shots

_DETECTION_VERSION = 1  # to be incremented when the results of `find_shots` change


@dataclass(frozen=True)
class ShotFrames:
    """`FrameSource` of a part of a video.

    Attributes:
        video: the video.
        start: number of the first frame in the video; it has number 0 in the shot.
        stop: number of the frame after the last.
    """

    video: ImageFrames | VideoFrames
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the video, with the numbers of the first and the last frame."""
        return f"{self.video.name}#{self.start}-{self.stop - 1}"

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, indices: Sequence[int], side: int | None = None) -> list[np.ndarray | None]:
        """See `FrameSource.read`; with `side`, frames are resized to side × side."""
        check_indices(self, indices)
        return self.video.read([self.start + index for index in indices], side)

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return self.video.between(self.start, self.stop)


def position_in_video(frames: FrameSource, index: int) -> tuple[FrameSource, int]:
    """Returns the video of a frame and the number of the frame in it.

    Args:
        frames: a shot or any other source.
        index: number of the frame in `frames`.

    Returns:
        The video that a shot is a part of, and the frame number there; other sources as given.
    """
    if isinstance(frames, ShotFrames):
        return frames.video, frames.start + index
    return frames, index


def cut_into_shots(
    video: ImageFrames | VideoFrames, cut_over: int, probe_cache: ProbeCache | None = None
) -> list[ImageFrames | VideoFrames] | list[ShotFrames]:
    """Cuts a long video into its shots.

    The video is decoded once, images at about a quarter of their height and width.

    Args:
        video: the video.
        cut_over: a video with at most this many frames is not cut.
        probe_cache: cache of detected shots; None: shots are detected at every call.

    Returns:
        The shots in order; the video itself if it is not cut or has a single shot.
    """
    if len(video) <= cut_over:
        return [video]
    if probe_cache is None:
        probed = _detect(video)
    else:
        files = video.paths if isinstance(video, ImageFrames) else (video.path,)
        # This text enters the names of records on disk: another wording invalidates them.
        key = f"shots, {_DETECTION_VERSION}"
        if isinstance(video, VideoFrames):
            key += f", {frames_version()}"
        probed = probe_cache.get_or_probe(files, key, lambda: _detect(video))
    if len(probed["shots"]) == 1:
        return [video]
    return [ShotFrames(video, start, stop) for start, stop in probed["shots"]]


def _detect(video: ImageFrames | VideoFrames) -> dict[str, Any]:
    """Returns the record of a video: start and stop of every shot."""
    shots = find_shots(video.previews() if isinstance(video, ImageFrames) else video)
    return {"shots": [(shot.start, shot.stop) for shot in shots]}
