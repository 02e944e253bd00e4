"""Which frames of a shot make a training sequence (CoLo-CAM, Section 4, "Frame sampling")."""

from __future__ import annotations

from typing import Literal

import numpy as np

Sampling = Literal["adjacent", "interval", "gaussian"]


def frame_window(num_frames: int, limit: float = 0.6) -> range:
    """The middle share of a shot's frames, the only ones that may be drawn.

    Args:
        num_frames: length of the shot, at least 1.
        limit: share in (0, 1] of the frames that may be drawn.

    Returns:
        A centred range of round(limit · num_frames) frame numbers, at least one.

    Raises:
        ValueError: for an empty shot or a limit outside (0, 1].
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, not {num_frames}")
    if not 0 < limit <= 1:
        raise ValueError(f"limit must lie in (0, 1], not {limit}")
    size = max(1, round(limit * num_frames))
    first = (num_frames - size) // 2
    return range(first, first + size)


def sample_frames(
    num_frames: int,
    n: int,
    sampling: Sampling,
    rng: np.random.Generator,
    limit: float = 0.6,
) -> list[int]:
    """Draw the n frames of a sequence from one shot, never the same frame twice.

    Args:
        num_frames: length of the shot, at least 1.
        n: frames wanted, at least 1.
        sampling: "adjacent": a uniformly drawn frame and its n − 1 predecessors; "interval": one
            uniformly drawn frame from each of n equal parts of the window; "gaussian": n frames
            by a Gaussian around the middle. (The paper leaves its width open; here the window
            spans three standard deviations to either side.)
        rng: source of randomness.
        limit: share of the shot, around its middle, that may be drawn (see `frame_window`).

    Returns:
        Sorted frame numbers inside the window; a window of fewer than n frames is given whole.

    Raises:
        ValueError: for n < 1, an empty shot, a bad limit or an unknown sampling.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    window = frame_window(num_frames, limit)
    size = len(window)
    if n >= size:
        return list(window)
    if sampling == "adjacent":
        first = int(rng.integers(size - n + 1))
        offsets = np.arange(first, first + n)
    elif sampling == "interval":
        edges = np.arange(n + 1) * size // n
        offsets = rng.integers(edges[:-1], edges[1:])
    elif sampling == "gaussian":
        distance = (np.arange(size) - (size - 1) / 2) / (size / 6)  # in standard deviations
        weights = np.exp(-0.5 * distance**2)
        offsets = np.sort(rng.choice(size, n, replace=False, p=weights / weights.sum()))
    else:
        raise ValueError(f"sampling must be adjacent, interval or gaussian, not {sampling!r}")
    return [window[int(offset)] for offset in offsets]
