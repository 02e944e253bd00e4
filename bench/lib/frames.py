"""Frames for measurements: of a video, or of the built-in clip set."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from colocam.data.decoding.open import open_video
from colocam.data.decoding.resizing import resized
from colocam.data.layouts.builtin import SIZES
from colocam.data.layouts.builtin_drawing import draw_shot, draw_video
from colocam.data.loading.transforms import to_tensor
from colocam.runtime.errors import UserError

SHRINK = 0.9  # side of corner crops, relative to the previous four


@dataclass(frozen=True)
class FrameSet:
    """Square frames of one video.

    Attributes:
        frames: (size, size, 3) uint8 RGB each; the distinct frames of the video come first.
        distinct: number of distinct frames; the others are smaller crops of these.
        about: origin of the frames, one line.
    """

    frames: tuple[np.ndarray, ...]
    distinct: int
    about: str

    def take(self, n: int) -> Tensor:
        """Takes n frames, evenly spaced over the distinct ones if there are enough.

        Returns:
            (n, 3, size, size) uint8 on the CPU, channels-last as in training.
        """
        indices = spread(self.distinct, n) if n <= self.distinct else range(n)
        return to_tensor([self.frames[index] for index in indices])


def load_frames(video: Path | None, n: int, size: int) -> FrameSet:
    """Loads at least n frames of size×size, from a video or from the built-in clip set.

    Raises:
        UserError: the video cannot be read.
    """
    return builtin_frames(n, size) if video is None else natural_frames(video, n, size)


def natural_frames(video: Path, n: int, size: int) -> FrameSet:
    """Reads n frames, evenly spaced, from a video file or a folder of frames.

    The largest centred square of a frame is resized. A video with fewer frames is filled up by
    smaller crops of the same frames (see `square`).

    Raises:
        UserError: the video does not exist, or none of its frames can be decoded.
    """
    source = open_video(video, video.name)
    wanted = spread(len(source), min(n, len(source)))
    decoded = [frame for frame in source.read(wanted) if frame is not None]
    if not decoded:
        raise UserError(f"{video}: none of its frames can be decoded; give another video")
    about = f"natural frames of {video.name}, {len(decoded)} of its {len(source)}"
    return crop_frames(decoded, n, size, about)


def builtin_frames(n: int, size: int) -> FrameSet:
    """Draws n frames as in the built-in clip set `large`: shots of one video."""
    clip_set = replace(SIZES["large"], frames=SIZES["large"].long_frames)
    rng = np.random.default_rng([clip_set.seed, 0, 0])
    video = draw_video(clip_set, 0, rng)
    frames: list[np.ndarray] = []
    while len(frames) < n:
        frames += draw_shot(clip_set, video, rng)[0]
    about = "frames drawn as in the built-in clip set `large`, not natural (--video gives those)"
    return crop_frames(frames[:n], n, size, about)


def crop_frames(frames: list[np.ndarray], n: int, size: int, about: str) -> FrameSet:
    """Crops n squares: the centre of every frame, then smaller corners of the same frames."""
    views = (square(frame, size, view) for view in itertools.count() for frame in frames)
    if n > len(frames):
        about += f"; beyond n = {len(frames)} smaller squares from the corners of the same frames"
    return FrameSet(tuple(itertools.islice(views, n)), len(frames), about)


def square(frame: np.ndarray, size: int, view: int) -> np.ndarray:
    """Square crop of a frame, resized.

    Args:
        frame: (H, W, 3) uint8.
        size: side of the result, (size, size, 3).
        view: 0: the largest centred square; from 1 on: one corner after another, smaller after
            every four.
    """
    height, width = frame.shape[:2]
    if view == 0:
        side = min(height, width)
        y, x = (height - side) // 2, (width - side) // 2
    else:
        rounds, corner = divmod(view - 1, 4)
        side = max(1, round(min(height, width) * SHRINK ** (rounds + 1)))
        y = (height - side) * (corner // 2)
        x = (width - side) * (corner % 2)
    return resized(frame[y : y + side, x : x + side], size)


def spread(total: int, n: int) -> list[int]:
    """n of the indices 0...total-1 (n <= total), evenly spaced: the middles of n equal parts."""
    return [(2 * part + 1) * total // (2 * n) for part in range(n)]
