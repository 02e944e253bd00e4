"""Input arrays: frames given as arrays or tensors, checked and converted to uint8 RGB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

InputFrames: TypeAlias = Sequence[np.ndarray | Tensor] | np.ndarray | Tensor
"""A sequence of frames, (H, W, 3) arrays or (3, H, W) tensors, or all frames in one array
(N, H, W, 3) or tensor (N, 3, H, W)."""

_EXPECTED = (
    "(H, W, 3) uint8 arrays, or (3, H, W) tensors, uint8 or floating point in 0…1, RGB; "
    "a list of them, or one array or tensor with a first dimension N"
)


def frame_list(frames: InputFrames) -> list[np.ndarray | Tensor]:
    """Returns the frames as a list of (H, W, 3) arrays or (3, H, W) tensors.

    Args:
        frames: see `InputFrames`; arrays are uint8, tensors uint8 or floating point in 0…1.

    Raises:
        ValueError: a frame has another shape or type.
    """
    if isinstance(frames, np.ndarray | Tensor) and frames.ndim != 4:
        raise _unexpected(frames)
    if not isinstance(frames, np.ndarray | Tensor | list | tuple):
        raise _unexpected(frames)
    items = list(frames)
    for frame in items:
        if not _is_frame(frame):
            raise _unexpected(frame)
    return items


def rgb_array(frame: np.ndarray | Tensor) -> np.ndarray:
    """Converts an item of `frame_list` to an (H, W, 3) uint8 array.

    Args:
        frame: (H, W, 3) array or (3, H, W) tensor on any device.

    Raises:
        ValueError: a floating-point tensor has values outside 0…1.
    """
    if isinstance(frame, np.ndarray):
        return frame
    values = frame.detach().cpu()
    if values.is_floating_point():
        values = values.float()
        if not bool(((values >= 0) & (values <= 1)).all()):  # also false for NaN
            low, high = values.min().item(), values.max().item()
            raise ValueError(f"frames: a floating-point tensor must be in 0…1, got {low}…{high}")
        values = (values * 255).round().to(torch.uint8)
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())


def _is_frame(frame: object) -> bool:
    if isinstance(frame, np.ndarray):
        is_valid_type, channels = frame.dtype == np.uint8, -1
    elif isinstance(frame, Tensor):
        is_valid_type, channels = frame.dtype == torch.uint8 or frame.is_floating_point(), 0
    else:
        return False
    shape = tuple(frame.shape)
    return is_valid_type and len(shape) == 3 and shape[channels] == 3 and 0 not in shape


def _unexpected(frames: object) -> ValueError:
    got = type(frames).__name__
    if isinstance(frames, np.ndarray | Tensor):
        got = f"{tuple(frames.shape)} {frames.dtype}"
    return ValueError(f"frames: expected {_EXPECTED}; got {got}")
