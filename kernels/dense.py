"""The Gaussian filter over every pair of pixels: the reference of the fast methods.

Work grows with the square of the pixels; memory does not: pairs are formed in blocks.
"""

import torch
from torch import Tensor

from colocam.kernels.products import product

BLOCK_PAIRS = 2**19  # pairs whose weights are held at once: few enough for the cache


class DensePairs:
    """Filter for fixed features; `apply` accepts any values."""

    def __init__(self, features: Tensor, group: Tensor, num_groups: int) -> None:
        """features (P, d) in units of sigma, group (P,) int64 in 0...num_groups-1."""
        self.order = torch.argsort(group, stable=True)
        self.features = features[self.order]
        self.counts = torch.bincount(group, minlength=num_groups).tolist()

    def apply(self, values: Tensor) -> Tensor:
        """Filter values (C, P) in float32 or float64 → (C, P), computed in that type."""
        v = values.T[self.order]  # (P, C), group after group
        features = self.features.to(values.dtype)
        parts = [
            filter_one_group(f, x)
            for f, x in zip(features.split(self.counts), v.split(self.counts), strict=True)
        ]
        out = torch.empty_like(v)
        out[self.order] = torch.cat(parts)
        return out.T


def filter_one_group(features: Tensor, values: Tensor) -> Tensor:
    """Every pair of features (P, d); values (P, C) → (P, C)."""
    rows = max(1, BLOCK_PAIRS // max(1, len(features)))
    blocks = [
        product(squared_distance(part, features).mul_(-0.5).exp_(), values)
        for part in features.split(rows)
    ]
    return torch.cat(blocks)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 by differences, axis by axis: (P, d), (Q, d) → (P, Q)."""
    total = a.new_zeros(len(a), len(b))
    for axis in range(a.shape[1]):
        difference = a[:, axis, None] - b[None, :, axis]
        total.addcmul_(difference, difference)
    return total
