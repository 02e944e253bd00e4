"""Gaussian filter on the permutohedral lattice: PyTorch backend.

Splats every pixel onto the d+1 vertices of its simplex, blurs along the d+1 axes, and slices.
Three differences from the published lattice: the one-ring of neighbours of occupied vertices is
inserted too (values propagate through it), weights are self-normalized (`geometry.self_weight`),
and the blur is calibrated (`geometry.STENCILS`).

Blurs along different axes do not commute where vertices are missing. The filter is the mean of the
blurs in ascending and in descending order of axes: each is the transpose of the other, so that the
mean is symmetric.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from colocam.kernels.permutohedral.geometry import (
    STENCILS,
    Keys,
    Stencil,
    axis_factors,
    elevate,
    enclosing_simplex,
    self_weight,
)
from colocam.kernels.sorted_keys import search_sorted, sorted_unique

CHUNK = 2**15  # pixels whose geometry is computed at once, so that it fits into the CPU's cache


class PermutohedralLattice:
    """Filter for fixed features; `apply` filters any values.

    Vertices are found by sorting keys: there is no table that could overflow.
    """

    def __init__(
        self,
        features: Tensor,
        group: Tensor,
        num_groups: int,
        *,
        sigmas: Sequence[float] | None = None,
        stencil: Stencil | None = None,
        ring: bool = True,
    ) -> None:
        """Builds the lattice.

        Args:
            features: (d, P).
            group: (P,) int64.
            num_groups: number of groups.
            sigmas: d standard deviations in the units of the features; None: 1 each.
            stencil: None: the calibrated one for d.
            ring: whether to insert the neighbours of occupied vertices.
        """
        self.stencil = stencil or STENCILS[len(features)]
        factors = axis_factors(sigmas or [1.0] * len(features), self.stencil.scale)
        simplex, self.weights, keys = locate(features, group, num_groups, factors, self.stencil)
        simplices, number = torch.unique(simplex, return_inverse=True)
        corners = keys.vertices(simplices)  # (d+1, S)
        steps = keys.axis_steps()
        vertices = sorted_unique(corners.flatten())
        if ring:
            around = [vertices + sign * step for step in steps for sign in (1, -1)]
            vertices = sorted_unique(torch.cat([vertices, *around]))
        self.count = len(vertices)
        self.vertex = search_sorted(vertices, corners).index_select(1, number)  # (d+1, P)
        self.neighbors = [find_neighbors(vertices, step) for step in steps]

    def apply(self, values: Tensor) -> Tensor:
        """Filter values (C, P) float32 or float64 → (C, P)."""
        splatted = self._splat(values)
        blurred = self._blur(splatted, self.neighbors) + self._blur(splatted, self.neighbors[::-1])
        return self._slice(blurred) * (0.5 * self.stencil.amplitude)

    def _splat(self, values: Tensor) -> Tensor:
        """(C, P) → (vertices + 1, C); the last row represents missing neighbours and is 0."""
        # a float32 sum of a million pixels on one vertex loses digits
        lattice = values.new_zeros(len(values), self.count + 1, dtype=torch.float64)
        for vertex, weight in zip(self.vertex, self.weights.to(values.dtype), strict=True):
            for channel in range(len(values)):
                part = (values[channel] * weight).to(torch.float64)
                lattice[channel].scatter_add_(0, vertex, part)
        return lattice.T.to(values.dtype).contiguous()

    def _blur(self, lattice: Tensor, neighbors: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Blur along the axes in order: (vertices + 1, C) → the same shape."""
        for after, before in neighbors:
            both = lattice.index_select(0, after).add_(lattice.index_select(0, before))
            lattice = torch.add(lattice, both, alpha=self.stencil.neighbor)
        return lattice

    def _slice(self, lattice: Tensor) -> Tensor:
        """(vertices + 1, C) → (C, P)."""
        out = lattice.new_zeros(self.vertex.shape[1], lattice.shape[1])
        for vertex, weight in zip(self.vertex, self.weights.to(lattice.dtype), strict=True):
            out.addcmul_(lattice.index_select(0, vertex), weight[:, None])
        return out.T


def locate(
    features: Tensor, group: Tensor, num_groups: int, factors: Sequence[float], stencil: Stencil
) -> tuple[Tensor, Tensor, Keys]:
    """Locate points in the lattice.

    Args:
        features: (d, P).
        group: (P,) int64.
        num_groups: number of groups.
        factors: see `axis_factors`.
        stencil: decides on self-normalization.

    Returns:
        the simplex key (P,) of every point, the weights (d+1, P) of the simplex's vertices, and
        the layout of the keys.
    """
    d, points = features.shape
    weights = features.new_empty(d + 1, points)
    origin = torch.empty(d + 1, points, dtype=torch.int32, device=features.device)
    rank = torch.empty_like(origin)
    for first in range(0, points, CHUNK):
        part = slice(first, first + CHUNK)
        origin[:, part], rank[:, part], inside = enclosing_simplex(
            elevate(features[:, part], factors)
        )
        if stencil.self_normalized:
            inside *= self_weight(inside, stencil.neighbor).rsqrt()
        weights[:, part] = inside
    low, high = ([0] * d,) * 2
    if points:
        low, high = (bound.tolist() for bound in origin[:d].aminmax(dim=1))
    keys = Keys(low, high, num_groups)
    return keys.pack_simplex(group, origin, rank), weights, keys


def find_neighbors(vertices: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Indices of each vertex's neighbours one step up and one step down an axis.

    Args:
        vertices: (V,) keys in ascending order.
        step: difference of keys along the axis, see `Keys.axis_steps`.

    Returns:
        Two (V + 1,) int64. Index V represents a missing neighbour; its own neighbours are V.
    """
    count = len(vertices)
    shifted = vertices + step
    index = search_sorted(vertices, shifted)
    found = vertices.index_select(0, index.clamp(max=max(0, count - 1))) == shifted
    after = torch.full((count + 1,), count, dtype=torch.int64, device=vertices.device)
    after[:count] = torch.where(found, index, count)
    before = torch.full_like(after, count)
    before.scatter_(0, after, torch.arange(count + 1, device=vertices.device))
    before[count] = count
    return after, before
