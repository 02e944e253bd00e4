"""Postprocessed score maps of single frames, from the earlier frames of their videos."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from colocam.data.decoding.enclosing_video import enclosing_video
from colocam.data.records import BoxedFrame, FrameSource
from colocam.postprocessing.settings import Postprocessing
from colocam.postprocessing.smoothing import Smoothing

MOST_FRAMES = 128  # frames of a video that are held in memory at once, if not more are needed

Infer = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.floating]]
"""Computes the score maps (B, S, S) of B ≥ 1 frames (H, W, 3) uint8 RGB of one video, in order; if
maps are refined, the refined maps."""


def video_scores(
    records: Sequence[BoxedFrame], infer: Infer, settings: Postprocessing
) -> NDArray[np.floating]:
    """Postprocessed score maps of single frames, from the earlier frames of their videos.

    Earlier frames are used back to `Postprocessing.frames_back`; frames that cannot be decoded are
    skipped. Where records of one video follow each other closely, the frames that they share are
    computed once.

    Args:
        records: frames that can be decoded.
        infer: computes score maps.
        settings: what is applied.

    Returns:
        (B, S, S).
    """
    runs = _runs([enclosing_video(record) for record in records], settings.frames_back)
    return np.stack([one for run in runs for one in _scores(*run, infer, settings)])


def _runs(
    located: Sequence[tuple[FrameSource, int]], back: int
) -> Iterator[tuple[FrameSource, list[int]]]:
    """Consecutive frames of a video, in ascending order, whose earlier frames overlap.

    Args:
        located: videos and frame numbers.
        back: number of earlier frames.

    Yields:
        A video, and frame numbers.
    """
    source, run = located[0][0], list[int]()
    for video, index in located:
        follows = video == source and run and run[-1] <= index <= run[-1] + back
        if run and not (follows and index - run[0] + back < MOST_FRAMES):
            yield source, run
            run = []
        source = video
        run.append(index)
    yield source, run


def _scores(
    source: FrameSource, run: Sequence[int], infer: Infer, settings: Postprocessing
) -> Iterator[NDArray[np.floating]]:
    """Postprocessed maps of the frames of a run."""
    numbers = range(max(0, run[0] - settings.frames_back), run[-1] + 1)
    read = zip(numbers, source.read(numbers), strict=True)
    frames = {number: frame for number, frame in read if frame is not None}
    maps = dict(zip(frames, infer([*frames.values()]), strict=True))
    for index in run:
        if settings.smooth is None:
            yield maps[index]
            continue
        smoothing = Smoothing(settings.smooth)
        for number in range(max(0, index - settings.smoothed_back), index + 1):
            if number in frames:
                smoothed = smoothing.next(maps[number], frames[number])
        yield smoothed
