"""Frame sampling: which frames of a shot form a training sequence (CoLo-CAM, Section 4)."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Sampling = Literal["adjacent", "interval", "gaussian"]
Direction = Literal["before", "after", "both"]


def frame_window(num_frames: int, limit: float = 0.6) -> range:
    """Returns the frames in the middle of a shot, the only ones that may be drawn.

    Args:
        num_frames: length of the shot, at least 1.
        limit: share in (0, 1] of the frames that may be drawn.

    Returns:
        A centred range of round(limit · num_frames) frame numbers, at least one.

    Raises:
        ValueError: `num_frames` < 1, or `limit` is outside (0, 1].
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, not {num_frames}")
    if not 0 < limit <= 1:
        raise ValueError(f"limit must be in (0, 1], not {limit}")
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
    """Draws the n frames of a sequence from one shot, without repetition.

    Args:
        num_frames: length of the shot, at least 1.
        n: number of frames of the sequence, at least 1.
        sampling: "adjacent": a uniformly drawn frame and its n − 1 neighbours, on the side given by
            `anchor_index`; "interval": one uniformly drawn frame from each of n equal parts of the
            window; "gaussian": n frames by a Gaussian around the middle. (The paper does not state
            its width; here the window spans three standard deviations to either side.)
        rng: random number generator.
        limit: share of the shot, around its middle, that may be drawn (see `frame_window`).

    Returns:
        Sorted frame numbers in the window; all of them if the window has at most n frames.

    Raises:
        ValueError: `n` < 1, `num_frames` < 1, or an invalid `limit` or `sampling`.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if sampling not in get_args(Sampling):
        raise ValueError(f"sampling must be adjacent, interval or gaussian, not {sampling!r}")
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
    else:
        distance = (np.arange(size) - (size - 1) / 2) / (size / 6)  # in standard deviations
        weights = np.exp(-0.5 * distance**2)
        offsets = np.sort(rng.choice(size, n, replace=False, p=weights / weights.sum()))
    return [window[int(offset)] for offset in offsets]


def anchor_index(count: int, direction: Direction) -> int:
    """Returns the index of the anchor, the frame that a sequence is drawn for, in the sequence.

    TCAM samples "a time position t" uniformly and adds the frames before it (Section 3), CoLo-CAM
    "a first frame" and its n − 1 predecessors (Section 4). Neighbours outside the window may not be
    drawn, and only a short shot may give fewer than n frames: so the anchor is uniform over the
    frames of the window whose neighbours are all in the window. A sequence thus consists of any n
    consecutive frames with equal probability, for every direction; the direction only decides which
    of them is the anchor. In sequences of the other samplings it has the same index.

    Args:
        count: number of frames of the sequence, at least 1.
        direction: where the neighbours of the anchor are. "before": the anchor is the last frame;
            "after": the first; "both": the middle one, or the later of the two middle ones.

    Returns:
        Index 0 … count − 1.

    Raises:
        ValueError: an invalid `direction`.
    """
    if direction not in get_args(Direction):
        raise ValueError(f"direction must be before, after or both, not {direction!r}")
    return {"before": count - 1, "after": 0, "both": count // 2}[direction]
