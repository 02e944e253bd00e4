"""Transforms of resized frames and maps: crops and flips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as augmentations


@dataclass(frozen=True)
class Crop:
    """Crop and horizontal flip, the same for all frames of a sequence.

    Attributes:
        x: left edge, pixels of the resized frame.
        y: upper edge, pixels of the resized frame.
        side: side of the square crop, pixels.
        flip: whether the crop is flipped horizontally.
    """

    x: int
    y: int
    side: int
    flip: bool

    @classmethod
    def draw(cls, resized: int, side: int, rng: np.random.Generator) -> "Crop":
        """Draws a crop uniformly, flipped with probability ½.

        Args:
            resized: side of the resized frame, pixels.
            side: side of the crop, pixels.
            rng: random number generator.
        """
        x, y = rng.integers(0, resized - side + 1, 2)
        return cls(int(x), int(y), side, bool(rng.random() < 0.5))

    def __call__(self, frames: Tensor) -> Tensor:
        """Crops and flips resized frames or maps (..., H, W), on any device."""
        part = augmentations.crop(frames, self.y, self.x, self.side, self.side)
        return augmentations.horizontal_flip(part) if self.flip else part


def augmented(frames: Tensor, crops: Sequence[Crop], lengths: Sequence[int]) -> Tensor:
    """Crops and flips whole sequences, on their device.

    Args:
        frames: (B, 3, R, R) frames or (B, R, R) maps, concatenated sequences.
        crops: crops of the sequences, all of the same side S.
        lengths: number of frames of each sequence; the sum is B.

    Returns:
        (B, 3, S, S), channels-last, or (B, S, S).
    """
    parts = frames.split(list(lengths))
    whole = torch.cat([crop(part) for crop, part in zip(crops, parts, strict=True)])
    images = whole.dim() == 4
    return whole.contiguous(
        memory_format=torch.channels_last if images else torch.contiguous_format
    )


def to_tensor(frames: list[np.ndarray]) -> Tensor:
    """Stacks frames (H, W, 3) uint8 of one size to a tensor (B, 3, H, W) uint8, channels-last."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
