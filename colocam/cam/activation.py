"""Class activation maps at the last feature map, in closed form (no backward pass).

With global average pooling and one linear layer, the gradient of a class score at the last
feature map is that class's weight row over H·W, the same at every place.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Method = Literal["cam", "layercam"]


def activation_map(features: Tensor, weight: Tensor, classes: Tensor, method: Method) -> Tensor:
    """CAM or LayerCAM of one class a frame, at the size of the features, not normalized.

    CAM (Zhou et al. 2016): Σ_k w_k A_k. LayerCAM (Jiang et al. 2021): ReLU(Σ_k ReLU(g_k)·A_k)
    with g the gradient of the class score, here w/(h·w); the factor drops out of the
    normalization and is left out.

    Args:
        features: (B, C, h, w) last feature map.
        weight: (K, C) weight of the linear layer.
        classes: (B,) integers 0…K−1.
        method: "cam" or "layercam".

    Returns:
        (B, h, w) float32.

    Raises:
        ValueError: unknown method.
    """
    if method not in get_args(Method):
        raise ValueError(f"method: unknown {method!r}; known: {', '.join(get_args(Method))}")
    rows = weight[classes].float()  # (B, C)
    if method == "layercam":
        rows = rows.clamp(min=0)
    with torch.autocast(features.device.type, enabled=False):  # bfloat16 would blur its levels
        maps = torch.einsum("bc,bchw->bhw", rows, features.float())
    return maps.clamp(min=0) if method == "layercam" else maps


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
