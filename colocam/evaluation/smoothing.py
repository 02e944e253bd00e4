"""Temporal smoothing of score maps: a running mean over the past frames of a video."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from colocam.data.decoding.enclosing_video import enclosing_video
from colocam.data.records import BoxedFrame, FrameSource
from colocam.data.shots.detection import is_cut, signature

NEGLIGIBLE = 0.02  # weight in the smoothed map below which earlier frames are skipped
MOST_FRAMES = 128  # frames of a video that are held in memory at once, if not more are needed

Infer = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.floating]]
"""Computes the score maps (B, S, S) of B ≥ 1 frames (H, W, 3) uint8 RGB."""


class Smoothing:
    """Running mean over a video, S̄ₜ = X·S̄ₜ₋₁ + (1 − X)·Sₜ, reset at every cut.

    It applies to score maps and to any other array per frame, such as class probabilities. Frames
    that cannot be decoded are skipped; they do not change the mean.

    Args:
        share: X, the weight of the earlier frames, 0 < X < 1.

    Raises:
        ValueError: `share` is out of range.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share: must be between 0 and 1, got {share}")
        self.share = share
        self._mean: NDArray[np.floating] | None = None
        self._signature = np.empty(0)

    def next(
        self, score_map: NDArray[np.floating], frame: NDArray[np.uint8]
    ) -> NDArray[np.floating]:
        """Adds the next frame and returns its smoothed map.

        Args:
            score_map: of any shape, the same for all frames.
            frame: (H, W, 3) uint8 RGB.

        Returns:
            The smoothed map, of the shape of `score_map`, in [0, 1] if all maps are; `score_map`
            itself at the first frame and after a cut.
        """
        before, self._signature = self._signature, signature(frame)
        if self._mean is None or is_cut(before, self._signature):
            self._mean = score_map
        else:
            self._mean = self.share * self._mean + (1 - self.share) * score_map
        return self._mean

    def next_of_all(
        self, values: Sequence[NDArray[np.floating]], frame: NDArray[np.uint8]
    ) -> list[NDArray[np.floating]]:
        """Adds several arrays of the next frame, of any shapes; see `next`."""
        joined = self.next(np.concatenate([value.ravel() for value in values]), frame)
        parts = np.split(joined, np.cumsum([value.size for value in values])[:-1])
        return [part.reshape(value.shape) for part, value in zip(parts, values, strict=True)]


def smoothed_scores(
    records: Sequence[BoxedFrame], infer: Infer, share: float
) -> NDArray[np.floating]:
    """Smoothed score maps S̄ of single frames, from the earlier frames of their videos.

    Earlier frames are used back to `frames_back`; frames that cannot be decoded are skipped. Where
    records of one video follow each other closely, the frames that they share are computed once.

    Args:
        records: frames that can be decoded.
        infer: computes score maps.
        share: X of `Smoothing`.

    Returns:
        (B, S, S).
    """
    back = frames_back(share)
    runs = _runs([enclosing_video(record) for record in records], back)
    return np.stack([one for run in runs for one in _smoothed(*run, back, infer, share)])


def frames_back(share: float) -> int:
    """Number of earlier frames whose weight is not negligible.

    Args:
        share: X of `Smoothing`.
    """
    return math.ceil(math.log(NEGLIGIBLE) / math.log(share)) - 1


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


def _smoothed(
    source: FrameSource, run: Sequence[int], back: int, infer: Infer, share: float
) -> Iterator[NDArray[np.floating]]:
    """Smoothed maps of the frames of a run."""
    numbers = range(max(0, run[0] - back), run[-1] + 1)
    read = zip(numbers, source.read(numbers), strict=True)
    frames = {number: frame for number, frame in read if frame is not None}
    maps = dict(zip(frames, infer([*frames.values()]), strict=True))
    for index in run:
        smoothing = Smoothing(share)
        for number in range(max(0, index - back), index + 1):
            if number in frames:
                smoothed = smoothing.next(maps[number], frames[number])
        yield smoothed
