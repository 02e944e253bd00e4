"""Long videos of a plain folder as shots: parts of them, to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colocam.data.decoding.probe_cache import KnownVideos
from colocam.data.decoding.video_file import ImageFrames, VideoFrames
from colocam.data.records import FrameSource
from colocam.data.shots.detection import find_shots

_CUTTING = 1  # version of where videos are cut: raise it with `colocam.data.shots.detection`


@dataclass(frozen=True)
class ShotFrames:
    """Frames start … stop − 1 of a video, counted from 0 here. A `FrameSource`."""

    video: ImageFrames | VideoFrames
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The video's, with the numbers of the first and the last frame in it."""
        return f"{self.video.name}#{self.start}-{self.stop - 1}"

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """See `FrameSource.read`."""
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"{self.name}: frame {index} of {len(self)}")
        return self.video.read([self.start + index for index in indices])

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return self.video.between(self.start, self.stop)


def place_in_video(frames: FrameSource, index: int) -> tuple[FrameSource, int]:
    """The video that a frame of a shot belongs to, and its number there; other frames as given."""
    if isinstance(frames, ShotFrames):
        return frames.video, frames.start + index
    return frames, index


def cut_into_shots(
    video: ImageFrames | VideoFrames, over: int, known: KnownVideos | None = None
) -> list[ImageFrames | VideoFrames] | list[ShotFrames]:
    """The shots of a video of more than `over` frames, in order; else the video itself.

    It is decoded once for that, images at about a quarter of their sides; once for all where
    `known` remembers it. A video in which no cut is found stays itself as well.
    """
    if len(video) <= over:
        return [video]
    if known is None:
        found = _bounds(video)
    else:
        files = video.paths if isinstance(video, ImageFrames) else (video.path,)
        found = known.recall(files, f"shots, {_CUTTING}", lambda: _bounds(video))
    if len(found["shots"]) == 1:
        return [video]
    return [ShotFrames(video, start, stop) for start, stop in found["shots"]]


def _bounds(video: ImageFrames | VideoFrames) -> dict[str, Any]:
    """First frame of every shot, and the one after its last."""
    shots = find_shots(video.previews() if isinstance(video, ImageFrames) else video)
    return {"shots": [(shot.start, shot.stop) for shot in shots]}
