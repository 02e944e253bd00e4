"""The Gaussian filter on the permutohedral lattice, in torch operations.

Splat every pixel onto the d+1 vertices of its simplex, blur along the d+1 axes, read back. Three
things differ from the published lattice: the neighbours of occupied vertices exist even where no
pixel created them (values pass through them), a pixel's weight to itself does not depend on its
position in the simplex (`geometry.self_weight`), and the blur is calibrated (`geometry.STENCILS`).

Blurs along different axes do not commute where vertices are missing. The filter here is the mean
of both orders, forward and backward: the one is the transpose of the other, so it is symmetric.
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
from colocam.kernels.sorted_keys import distinct, positions

CHUNK = 2**15  # pixels whose geometry is worked out at once, so that it stays in the cache


class PermutohedralLattice:
    """Filter for fixed features; `apply` accepts any values.

    The number of vertices is whatever sorting finds: nothing can overflow or be dropped.
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
        """Features (d, P) in units of `sigmas` (1), group (P,) int64.

        `stencil` defaults to the calibrated one of this d; `ring` inserts the neighbours of
        occupied vertices.
        """
        self.stencil = stencil or STENCILS[len(features)]
        factors = axis_factors(sigmas or [1.0] * len(features), self.stencil.scale)
        simplex, self.weights, keys = locate(features, group, num_groups, factors, self.stencil)
        simplices, number = torch.unique(simplex, return_inverse=True)
        corners = keys.vertices(simplices)  # (d+1, S)
        steps = keys.axis_steps()
        vertices = distinct(corners.flatten())
        if ring:
            around = [vertices + sign * step for step in steps for sign in (1, -1)]
            vertices = distinct(torch.cat([vertices, *around]))
        self.count = len(vertices)
        self.vertex = positions(vertices, corners).index_select(1, number)  # (d+1, P)
        self.neighbors = [find_neighbors(vertices, step) for step in steps]

    def apply(self, values: Tensor) -> Tensor:
        """Filter values (C, P) float32 or float64 → (C, P)."""
        splatted = self._splat(values)
        blurred = self._blur(splatted, self.neighbors) + self._blur(splatted, self.neighbors[::-1])
        return self._slice(blurred) * (0.5 * self.stencil.amplitude)

    def _splat(self, values: Tensor) -> Tensor:
        """(C, P) → (vertices + 1, C); the last row stands for a missing neighbour and is 0."""
        # float32 would lose count of a million pixels on one vertex
        lattice = values.new_zeros(len(values), self.count + 1, dtype=torch.float64)
        for vertex, weight in zip(self.vertex, self.weights.to(values.dtype), strict=True):
            for channel in range(len(values)):
                part = (values[channel] * weight).to(torch.float64)
                lattice[channel].scatter_add_(0, vertex, part)
        return lattice.T.to(values.dtype).contiguous()

    def _blur(self, lattice: Tensor, neighbors: list[tuple[Tensor, Tensor]]) -> Tensor:
        """One axis after the other: (vertices + 1, C) → the same."""
        for after, before in neighbors:
            around = lattice.index_select(0, after).add_(lattice.index_select(0, before))
            lattice = torch.add(lattice, around, alpha=self.stencil.neighbor)
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
    """Simplex key (P,) and weights of its vertices (d+1, P) of every point; the keys' layout."""
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
    """Row of each vertex's neighbour one step up and one step down an axis.

    Args:
        vertices: (V,) keys in rising order.
        step: of the axis (see `Keys.axis_steps`).

    Returns:
        Two (V + 1,) int64. Row V stands for a neighbour that does not exist, and is its own
        neighbour.
    """
    count = len(vertices)
    wanted = vertices + step
    position = positions(vertices, wanted)
    found = vertices.index_select(0, position.clamp(max=max(0, count - 1))) == wanted
    after = torch.full((count + 1,), count, dtype=torch.int64, device=vertices.device)
    after[:count] = torch.where(found, position, count)
    before = torch.full_like(after, count)
    before.scatter_(0, after, torch.arange(count + 1, device=vertices.device))
    before[count] = count
    return after, before
