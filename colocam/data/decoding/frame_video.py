"""The video around a frame that stands for itself: in some sets each frame is a file of its own."""

from __future__ import annotations

import os

from colocam.data.decoding.video_file import ImageFrames, list_frames
from colocam.data.records import BoxedFrame, FrameSource


def whole_source(record: BoxedFrame) -> tuple[FrameSource, int]:
    """The frame's video or shot, and its number there.

    Of an image that stands for itself, the images of the folder that it lies in.
    """
    frames = record.frames
    if not isinstance(frames, ImageFrames) or len(frames) > 1:
        return frames, record.index
    path = os.path.normpath(frames.paths[0])
    paths = tuple(map(os.path.normpath, list_frames(os.path.dirname(path))))
    if path not in paths:
        return frames, record.index
    return ImageFrames(paths, os.path.dirname(frames.name) or frames.name), paths.index(path)
