"""From decoded frames to what the network and the losses see."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as augmentations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Crop:
    """One crop and flip, the same for all frames of a sequence.

    Attributes:
        x, y: upper left corner, pixels of the resized frame.
        side: of the square crop, pixels.
        flip: mirrored left to right.
    """

    x: int
    y: int
    side: int
    flip: bool

    @classmethod
    def draw(cls, resized: int, side: int, rng: np.random.Generator) -> "Crop":
        """A uniformly drawn place in a `resized`×`resized` frame, flipped with probability ½."""
        x, y = rng.integers(0, resized - side + 1, 2)
        return cls(int(x), int(y), side, bool(rng.random() < 0.5))

    def __call__(self, frames: Tensor) -> Tensor:
        """That part of resized frames or maps (..., H, W), wherever they are."""
        part = augmentations.crop(frames, self.y, self.x, self.side, self.side)
        return augmentations.horizontal_flip(part) if self.flip else part


def augmented(frames: Tensor, crops: Sequence[Crop], lengths: Sequence[int]) -> Tensor:
    """Crops and flips whole sequences, on the device that they are on.

    Args:
        frames: (B, 3, R, R) frames or (B, R, R) maps, sequences one behind the other.
        crops: one a sequence, all of the same side S.
        lengths: frames of each sequence, B in all.

    Returns:
        (B, 3, S, S), channels-last, or (B, S, S).
    """
    parts = frames.split(list(lengths))
    whole = torch.cat([crop(part) for crop, part in zip(crops, parts, strict=True)])
    images = whole.dim() == 4
    return whole.contiguous(
        memory_format=torch.channels_last if images else torch.contiguous_format
    )


def resized(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 resized to (side, side, 3): bilinear, averaging where it shrinks."""
    height, width = frame.shape[:2]
    shrinks = height >= side and width >= side
    return cv2.resize(
        frame, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def resized_map(values: np.ndarray, side: int) -> np.ndarray:
    """A map (h, w) float32 in [0, 1] resized as a frame is, to (side, side) in [0, 1]."""
    return np.clip(resized(values, side), 0, 1)  # averaging rounds past 1


def to_tensor(frames: list[np.ndarray]) -> Tensor:
    """Frames (H, W, 3) uint8 of one size to a tensor (B, 3, H, W) uint8, channels-last."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def normalized(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) uint8 to float32 with ImageNet mean and standard deviation."""
    mean, std = _channel_statistics(images.device)
    return (images.float() / 255 - mean) / std


@cache
def _channel_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1, 3, 1, 1), once a device: the copy from the host waits."""
    with torch.inference_mode(False):
        both = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=device)
    return both[0].view(1, 3, 1, 1), both[1].view(1, 3, 1, 1)
