"""Enclosing video of a frame, for data sets with a separate image for every evaluation frame."""

from __future__ import annotations

import os

from colocam.data.decoding.images import ImageFrames, list_frames
from colocam.data.records import BoxedFrame, FrameSource


def enclosing_video(record: BoxedFrame) -> tuple[FrameSource, int]:
    """Returns the video or shot that contains a frame, and the number of the frame in it.

    For a source of a single image, these are the images of its folder.

    Args:
        record: the frame.

    Returns:
        The frame source, and the index of the frame; those of the record if there are no others.
    """
    frames = record.frames
    if not isinstance(frames, ImageFrames) or len(frames) > 1:
        return frames, record.index
    path = os.path.normpath(frames.paths[0])
    paths = tuple(map(os.path.normpath, list_frames(os.path.dirname(path))))
    if path not in paths:
        return frames, record.index
    return ImageFrames(paths, os.path.dirname(frames.name) or frames.name), paths.index(path)
