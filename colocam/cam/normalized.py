"""From activation maps to maps in [0, 1] at the size of the frame."""

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
    # Upsampling a constant leaves differences of some last digits: no map to stretch.
    flat = span <= 16 * torch.finfo(maps.dtype).eps * torch.maximum(high, -low)
    return torch.where(flat, 0.0, (maps - low) / span.masked_fill(flat, 1.0))
