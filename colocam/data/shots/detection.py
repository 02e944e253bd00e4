"""Shot detection: a cut is where most of the picture changes from one frame to the next.

A signature describes each frame: the distribution of its colours, and a thumbnail of 8×8 pixels.
Motion hardly changes the distribution, an object that appears or disappears hardly changes the
thumbnail; a cut changes both. Gradual changes of light stay below the threshold between
neighbouring frames. A picture that returns within a few frames is a flash, not a cut. A fade to
black is detected where the picture is nearly black; other dissolves are not detected.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

MIN_SHOT = 25
"""Minimum length of a shot, frames; about a second."""

_THRESHOLD = 0.2
_DARK = 0.2  # lower bound of the brightness in [0, 1], so that noise in the dark is not amplified
_FLASH = 4  # maximum length of a flash, frames
_LEVELS, _SIDE = 8, 8  # histogram bins per channel, side of the thumbnail in pixels
_HISTOGRAM = 3 * _LEVELS  # histogram entries of a signature


def signature(frame: np.ndarray) -> np.ndarray:
    """Computes the signature of a frame; takes about 0.1 ms for frames of any size.

    Args:
        frame: (H, W, 3) uint8, RGB.

    Returns:
        (216,) float32: for each channel the shares of pixels at 8 levels, then the 8×8 thumbnail in
        [0, 1]. A pixel between two levels is divided between them by linear interpolation, so that
        the shares are a continuous function of the pixel values.
    """
    step = max(1, min(frame.shape[:2]) // 64)
    small = cv2.resize(frame[::step, ::step], (32, 32), interpolation=cv2.INTER_AREA)
    position = small.reshape(-1, 3, 1).astype(np.float32) * ((_LEVELS - 1) / 255)
    levels = np.arange(_LEVELS, dtype=np.float32)
    shares = np.clip(1 - np.abs(position - levels), 0, 1).mean(0)  # (3, levels)
    thumbnail = cv2.resize(small, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.concatenate([shares.ravel(), thumbnail.ravel().astype(np.float32) / 255])


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Returns whether there is a cut between two consecutive frames.

    The distance is the share of pixels whose level changes, averaged over the channels, plus the
    mean absolute difference of the thumbnails, divided by the brightness of the brighter thumbnail
    (at least 0.2). A distance above 0.2 is a cut. On five real clips (swan, kitten, street,
    juggler, and a tennis court filmed by a moving camera, with every second frame removed) the
    distance is at most 0.09 between neighbouring frames and 0.20 over three frames; between two
    clips it is at least 0.34. With a third or a seventh of the light the distance is still at most
    0.12 between neighbouring frames, and at least 0.22 between clips.

    Args:
        before: (216,) signature of a frame.
        after: (216,) signature of a later frame.
    """
    return _distance(before, after) > _THRESHOLD


def _distance(before: np.ndarray, after: np.ndarray) -> float:
    change = np.abs(before - after)
    distance = change[:_HISTOGRAM].sum() / 6 + change[_HISTOGRAM:].mean()
    brightness = max(before[_HISTOGRAM:].max(), after[_HISTOGRAM:].max())
    return float(distance / max(brightness, _DARK))


class ShotFinder:
    """Online shot detection: frames are added in order.

    Args:
        min_length: minimum length of a shot, frames; a cut that would make a shorter one is
            ignored.
    """

    def __init__(self, min_length: int = MIN_SHOT) -> None:
        self.min_length = min_length
        self._num_frames = 0
        self._starts = [0]
        self._reference: np.ndarray | None = None  # signature of the latest frame of the shot
        self._changed: int | None = None  # first of the frames that all differ from `_reference`

    def add(self, frame: np.ndarray | None) -> None:
        """Adds the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB; None for a frame that cannot be decoded.
        """
        index = self._num_frames
        self._num_frames += 1
        if frame is None:
            return
        current = signature(frame)
        if self._reference is None or not is_cut(self._reference, current):
            self._reference, self._changed = current, None  # same shot, possibly after a flash
            return
        if self._changed is None:
            self._changed = index
        if index - self._changed >= _FLASH:
            if self._changed - self._starts[-1] >= self.min_length:
                self._starts.append(self._changed)
            self._reference, self._changed = current, None

    def shots(self) -> list[range]:
        """Returns the frame numbers of each shot so far, in order; the shots cover all frames."""
        starts = self._starts
        if len(starts) > 1 and self._num_frames - starts[-1] < self.min_length:
            starts = starts[:-1]
        ends = [*starts[1:], self._num_frames]
        return [range(start, end) for start, end in zip(starts, ends, strict=True) if end > start]


def find_shots(frames: Iterable[np.ndarray | None], *, min_length: int = MIN_SHOT) -> list[range]:
    """Finds the shots of a video, in one pass over its frames.

    A picture that returns after at most 4 frames is a flash. A shot shorter than `min_length` is
    merged with the next one, or with the previous one at the end of the video. A frame that cannot
    be decoded belongs to the shot of the frame before it.

    Args:
        frames: a `FrameSource`, or any other frames in order: (H, W, 3) uint8 RGB, None for a frame
            that cannot be decoded.
        min_length: minimum length of a shot, frames.

    Returns:
        Frame numbers of each shot, in order; the shots cover all frames. One shot if there is no
        cut, none if there is no frame.
    """
    finder = ShotFinder(min_length)
    for frame in frames:
        finder.add(frame)
    return finder.shots()
