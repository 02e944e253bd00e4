"""Dense Gaussian filter over all pairs of points: the reference that fast methods are compared to.

Time grows with the square of the number of points; memory does not, as pairs are formed in blocks.
"""

import torch
from torch import Tensor

from colocam.kernels.products import product

BLOCK_PAIRS = 2**19  # pairs whose weights are computed at once: they fit into the CPU's cache


class DensePairs:
    """Exact filter for fixed features; `apply` filters any values."""

    def __init__(self, features: Tensor, group: Tensor, num_groups: int) -> None:
        """Sorts points by group.

        Args:
            features: (P, d) in units of sigma.
            group: (P,) int64, 0...num_groups-1.
            num_groups: number of groups.
        """
        self.order = torch.argsort(group, stable=True)
        self.features = features[self.order]
        self.counts = torch.bincount(group, minlength=num_groups).tolist()

    def apply(self, values: Tensor) -> Tensor:
        """Filter values (C, P) in float32 or float64 → (C, P), computed in that type."""
        v = values.T[self.order]  # (P, C), sorted by group
        features = self.features.to(values.dtype)
        parts = [
            filter_one_group(f, x)
            for f, x in zip(features.split(self.counts), v.split(self.counts), strict=True)
        ]
        out = torch.empty_like(v)
        out[self.order] = torch.cat(parts)
        return out.T


def filter_one_group(features: Tensor, values: Tensor) -> Tensor:
    """Filter values (P, C) over all pairs of features (P, d) → (P, C)."""
    rows = max(1, BLOCK_PAIRS // max(1, len(features)))
    blocks = [
        product(squared_distance(part, features).mul_(-0.5).exp_(), values)
        for part in features.split(rows)
    ]
    return torch.cat(blocks)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 as a sum of squared differences per axis: (P, d), (Q, d) → (P, Q)."""
    total = a.new_zeros(len(a), len(b))
    for axis in range(a.shape[1]):
        difference = a[:, axis, None] - b[None, :, axis]
        total.addcmul_(difference, difference)
    return total
