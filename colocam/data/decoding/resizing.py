"""Resizing of frames and maps to the square of a model."""

import numpy as np
import torch
from torchvision.transforms.v2 import functional


def resized(frame: np.ndarray, side: int) -> np.ndarray:
    """Resizes a frame by bilinear interpolation, antialiased where a side shrinks.

    The same as `torchvision.transforms.v2.functional.resize` and, to one level, Pillow.

    Args:
        frame: (H, W, 3) uint8.
        side: side of the resized frame, pixels.

    Returns:
        (side, side, 3) uint8.
    """
    return _interpolated(frame, side)


def resized_map(values: np.ndarray, side: int) -> np.ndarray:
    """Resizes a map in the same way as a frame.

    Args:
        values: (h, w) float32 in [0, 1].
        side: side of the resized map, pixels.

    Returns:
        (side, side) float32 in [0, 1].
    """
    return np.clip(_interpolated(values[..., None], side)[..., 0], 0, 1)  # means may be rounded up


def _interpolated(image: np.ndarray, side: int) -> np.ndarray:
    """(H, W, C) of any dtype → (side, side, C)."""
    # torch accepts neither negative strides nor read-only arrays.
    pixels = torch.from_numpy(np.require(image, requirements=("C", "W")))
    small = functional.resize(pixels.permute(2, 0, 1), [side, side], antialias=True)
    return small.permute(1, 2, 0).contiguous().numpy()
