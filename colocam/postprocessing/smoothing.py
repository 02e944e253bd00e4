"""Temporal smoothing of score maps: a running mean over the past frames of a video."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from colocam.data.shots.detection import is_cut, signature

NEGLIGIBLE = 0.02  # weight in the smoothed map below which earlier frames are skipped


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


def frames_back(share: float) -> int:
    """Number of earlier frames whose weight is not negligible.

    Args:
        share: X of `Smoothing`.
    """
    return math.ceil(math.log(NEGLIGIBLE) / math.log(share)) - 1
