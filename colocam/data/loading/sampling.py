"""Which frames of a shot make a training sequence (CoLo-CAM, Section 4, "Frame sampling")."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Sampling = Literal["adjacent", "interval", "gaussian"]
Direction = Literal["before", "after", "both"]


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
        sampling: "adjacent": a uniformly drawn frame and its n − 1 neighbours, on the side that
            `anchor_place` tells; "interval": one uniformly drawn frame from each of n equal parts
            of the window; "gaussian": n frames by a Gaussian around the middle. (The paper leaves
            its width open; here the window spans three standard deviations to either side.)
        rng: source of randomness.
        limit: share of the shot, around its middle, that may be drawn (see `frame_window`).

    Returns:
        Sorted frame numbers inside the window; a window of fewer than n frames is given whole.

    Raises:
        ValueError: for n < 1, an empty shot, a bad limit or an unknown sampling.
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


def anchor_place(count: int, direction: Direction) -> int:
    """Where the anchor, the frame that a sequence is drawn for, stands in it.

    TCAM samples "a time position t" uniformly and adds the frames before it (Section 3), CoLo-CAM
    "a first frame" and its n − 1 predecessors (Section 4). Neighbours outside of the window may
    not be drawn, and only a short shot may give fewer than n frames: so the anchor is uniform
    over those frames of the window that have all their neighbours in it. A sequence is then any n
    frames in a row, each as likely as another, whatever the direction; the direction decides
    which of them is the anchor. Sequences of the other samplings have it at the same place.

    Args:
        count: frames of the sequence, at least 1.
        direction: where its neighbours lie. "before": it stands last; "after": first; "both": in
            the middle, behind one frame more than follow it where these are odd in number.

    Returns:
        0 … count − 1: the number of frames before it.

    Raises:
        ValueError: for an unknown direction.
    """
    if direction not in get_args(Direction):
        raise ValueError(f"direction must be before, after or both, not {direction!r}")
    return {"before": count - 1, "after": 0, "both": count // 2}[direction]
