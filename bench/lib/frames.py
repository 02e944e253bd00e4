"""Frames for measurements: of a video where there is one, else drawn."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from colocam.data.decoding.open import open_video
from colocam.data.layouts.builtin import SIZES, draw_shot, draw_video
from colocam.data.loading.transforms import resized, to_tensor
from colocam.runtime.errors import UserError

SHRINK = 0.9  # of each round of corner crops against the one before


@dataclass(frozen=True)
class FrameSet:
    """Square frames of one video.

    Attributes:
        frames: (size, size, 3) uint8 RGB each; the distinct frames of the video come first.
        distinct: how many of them are frames of their own; the rest are further crops of these.
        about: one line: where they come from, and how they were cut.
    """

    frames: tuple[np.ndarray, ...]
    distinct: int
    about: str

    def take(self, n: int) -> Tensor:
        """n of the frames, spread evenly over the distinct ones while these suffice.

        Returns:
            (n, 3, size, size) uint8 on the CPU, channels-last, as training sees its crops.
        """
        indices = spread(self.distinct, n) if n <= self.distinct else range(n)
        return to_tensor([self.frames[index] for index in indices])


def load_frames(video: Path | None, n: int, size: int) -> FrameSet:
    """At least n frames of size×size.

    Raises:
        UserError: the video cannot be read.
    """
    return drawn_frames(n, size) if video is None else natural_frames(video, n, size)


def natural_frames(video: Path, n: int, size: int) -> FrameSet:
    """n frames spread over a video file or a folder of frames; all of it where it is shorter.

    The largest centred square of a frame is resized. What is still missing are smaller squares
    from the corners of the same frames (see `square`).

    Raises:
        UserError: nothing at `video`, or nothing that decodes.
    """
    source = open_video(video, video.name)
    wanted = spread(len(source), min(n, len(source)))
    decoded = [frame for frame in source.read(wanted) if frame is not None]
    if not decoded:
        raise UserError(f"{video}: none of the frames asked for decodes; give another video")
    about = f"natural frames of {video.name}, {len(decoded)} of its {len(source)}"
    return cut(decoded, n, size, about)


def drawn_frames(n: int, size: int) -> FrameSet:
    """Frames as the built-in clip set `large` draws them: one video, as many shots as it takes."""
    clip_set = replace(SIZES["large"], frames=SIZES["large"].long_frames)
    rng = np.random.default_rng([clip_set.seed, 0, 0])
    video = draw_video(clip_set, 0, rng)
    frames: list[np.ndarray] = []
    while len(frames) < n:
        frames += draw_shot(clip_set, video, rng)[0]
    about = "frames drawn as in the built-in clip set `large`, not natural (--video gives those)"
    return cut(frames[:n], n, size, about)


def cut(frames: list[np.ndarray], n: int, size: int, about: str) -> FrameSet:
    """Squares of the frames: round after round until there are n; says so in `about`."""
    views = (square(frame, size, view) for view in itertools.count() for frame in frames)
    if n > len(frames):
        about += f"; beyond n = {len(frames)} smaller squares from the corners of the same frames"
    return FrameSet(tuple(itertools.islice(views, n)), len(frames), about)


def square(frame: np.ndarray, size: int, view: int) -> np.ndarray:
    """View 0: the largest centred square; from 1 on: the corners in turn, smaller every four.

    Args:
        frame: (H, W, 3) uint8.
        size: of the result, (size, size, 3).
        view: which.
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
    """n of the numbers 0...total-1 (n <= total): the middles of n equal parts."""
    return [(2 * part + 1) * total // (2 * n) for part in range(n)]
