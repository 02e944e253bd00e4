"""Score maps that do not flicker: smoothing along a video, from the past alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from colocam.data.shots.detection import is_cut, signature


class Smoothing:
    """A running mean over a video, S̄ₜ = X·S̄ₜ₋₁ + (1 − X)·Sₜ, begun anew at a cut.

    For score maps, or anything else of one size that belongs to frames, as class probabilities. A
    frame that cannot be decoded is passed over: nothing is forgotten.

    Args:
        share: X, of what was before, more than 0 and less than 1.

    Raises:
        ValueError: another `share`.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share: must lie between 0 and 1, got {share}")
        self.share = share
        self._mean: NDArray[np.floating] | None = None
        self._signature = np.empty(0)

    def next(
        self, score_map: NDArray[np.floating], frame: NDArray[np.uint8]
    ) -> NDArray[np.floating]:
        """The smoothed map of the next frame.

        Args:
            score_map: of any shape, the same for all frames.
            frame: it belongs to, (H, W, 3) uint8 RGB.

        Returns:
            A map like `score_map`, in [0, 1] if all of them were; `score_map` itself at the first
            frame and after a cut.
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
        """The same of several arrays that belong to the frame, of any shapes."""
        whole = self.next(np.concatenate([value.ravel() for value in values]), frame)
        parts = np.split(whole, np.cumsum([value.size for value in values])[:-1])
        return [part.reshape(value.shape) for part, value in zip(parts, values, strict=True)]
