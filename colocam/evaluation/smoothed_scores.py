"""Score maps of single frames, smoothed with what their videos showed before."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from colocam.data.decoding.enclosing_video import enclosing_video
from colocam.data.records import BoxedFrame
from colocam.evaluation.smoothing import Smoothing

FORGOTTEN = 0.02  # share of the smoothed map below which frames further back are left out

Infer = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.floating]]
"""Score maps (B, S, S) of B ≥ 1 frames (H, W, 3) uint8 RGB."""


def smoothed_scores(
    records: Sequence[BoxedFrame], infer: Infer, share: float
) -> NDArray[np.floating]:
    """S̄ of each frame, from the frames of its video before it, see `Smoothing`.

    Frames before it are looked at as far back as they count; those that cannot be decoded are
    passed over.

    Args:
        records: frames that can be decoded.
        infer: gives score maps.
        share: X of the smoothing.

    Returns:
        (B, S, S).
    """
    return np.stack([_smoothed(record, infer, share) for record in records])


def frames_back(share: float) -> int:
    """How many frames before one still count."""
    return math.ceil(math.log(FORGOTTEN) / math.log(share)) - 1


def _smoothed(record: BoxedFrame, infer: Infer, share: float) -> NDArray[np.floating]:
    source, index = enclosing_video(record)
    first = max(0, index - frames_back(share))
    read = source.read(range(first, index + 1))
    frames = [frame for frame in read if frame is not None]
    smoothing = Smoothing(share)
    for frame, score_map in zip(frames, infer(frames), strict=True):
        found = smoothing.next(score_map, frame)
    return found
