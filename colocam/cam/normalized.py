"""Normalization of activation maps: upsampled to the frame, min-max normalized to [0, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor


def normalized_map(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsamples maps (B, h, w) to `size` (H, W), bilinear, and min-max normalizes each to [0, 1].

    A map that is constant up to rounding becomes 0 everywhere.
    """
    maps = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    span = high - low
    # Upsampling a constant map leaves rounding errors, which must not be stretched to [0, 1].
    flat = span <= 16 * torch.finfo(maps.dtype).eps * torch.maximum(high, -low)
    return torch.where(flat, 0.0, (maps - low) / span.masked_fill(flat, 1.0))
