"""Geometry of the permutohedral lattice (Adams, Baek, Davis 2010), shared by its implementations.

The lattice lives on the plane of R^(d+1) whose coordinates sum to 0. Its vertices have integer
coordinates that are all congruent modulo d+1; the common remainder k is the vertex's colour, and
every simplex has one vertex of each colour 0...d. A simplex is named by its vertex of remainder 0
and by the order of the point's residuals from it (the ranks).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stencil:
    """How the lattice imitates the Gaussian.

    Attributes:
        scale: sigma against the side of the lattice's cells; larger is finer.
        neighbor: weight of each of the two neighbours along an axis, the vertex itself having 1.
        amplitude: factor that takes the result to exp(-|f_i - f_j|^2 / 2).
        self_normalized: whether a pixel's weight to itself is made the same wherever it lies in its
            simplex (see `self_weight`).
    """

    scale: float
    neighbor: float
    amplitude: float
    self_normalized: bool = True


# Chosen by measurement for each d: of a raster of scales and neighbour weights a pair with nearly
# the least largest error against the exact filter, on 35 crops of real frames and 4 synthetic
# ones with widely spread colours (colour; colour and place for d > 3; one and two channels for
# d < 3; sigma_rgb 10...20, sigma_xy 43...100), with the one-ring of neighbours. The amplitude
# makes the largest error least; that it comes out near 1 is what `self_weight` brings. Largest
# errors of the filtered values: 2.4, 2.8, 3.5, 3.4 and 3.9 % for d = 1...5, of the energies
# 2.0, 1.6, 1.9, 2.1 and 3.4 %. Without leveling the best are 4.8 (d = 3) and 8.1 % (d = 5).
STENCILS = {
    1: Stencil(0.90, 0.58, 1.0190),
    2: Stencil(0.90, 0.58, 0.9914),
    3: Stencil(0.90, 0.55, 0.9934),
    4: Stencil(0.90, 0.55, 0.9892),
    5: Stencil(0.90, 0.55, 0.9960),
}


def published_stencil(d: int) -> Stencil:
    """The one of the widely used C++ lattice (Krähenbühl and Koltun 2011), 20-50 % too small."""
    return Stencil(math.sqrt(2 / 3), 0.5, 1 / (1 + 2.0**-d), self_normalized=False)


def stencil_of(method: str, d: int) -> tuple[Stencil, bool]:
    """The stencil of a method for d features, and whether the one-ring of neighbours is kept."""
    if method == "permutohedral-published":
        return published_stencil(d), False
    return STENCILS[d], True


def axis_factors(sigmas: Sequence[float], scale: float) -> list[float]:
    """What features are multiplied by before they are elevated: one factor a feature."""
    d = len(sigmas)
    return [scale * (d + 1) / (math.sqrt(k * (k + 1)) * s) for k, s in enumerate(sigmas, start=1)]


def elevate(features: Tensor, factors: Sequence[float]) -> Tensor:
    """Points of R^d onto the lattice's plane: (d, P), `axis_factors` → (d+1, P)."""
    d = len(features)
    elevated = features.new_empty(d + 1, features.shape[1])
    total = torch.zeros_like(elevated[0])
    for k in range(d, 0, -1):
        x = features[k - 1] * factors[k - 1]
        elevated[k] = total - k * x
        total = total + x
    elevated[0] = total
    return elevated


def enclosing_simplex(elevated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The simplex around each point, and the point's place in it.

    Args:
        elevated: (d+1, P) points on the plane.

    Returns:
        origin: (d+1, P) int32, the vertex of remainder 0 divided by d+1.
        rank: (d+1, P) int32, 0 for the coordinate with the largest residual, a permutation.
        weights: (d+1, P) barycentric weights of the vertices of remainder 0...d; they sum to 1.
    """
    sides = len(elevated)
    scaled = elevated * (1 / sides)
    nearest = (scaled + 0.5).floor()
    residual = scaled - nearest
    rank = torch.zeros(elevated.shape, dtype=torch.int32, device=elevated.device)
    for i in range(sides):
        for j in range(i + 1, sides):
            behind = residual[i] < residual[j]
            rank[i] += behind
            rank[j] += ~behind
    # rounding coordinate by coordinate may leave the plane: walk back along the worst ones
    rank += nearest.sum(0).to(torch.int32)
    shift = (rank < 0).to(torch.int32) - (rank >= sides).to(torch.int32)
    rank += sides * shift
    residual -= shift
    ordered = torch.empty_like(residual).scatter_(0, rank.to(torch.int64), residual)
    weights = torch.empty_like(ordered)
    weights[0] = 1 + ordered[-1] - ordered[0]
    weights[1:] = (ordered[:-1] - ordered[1:]).flip(0)
    return nearest.to(torch.int32) + shift, rank, weights


def self_weight(weights: Tensor, neighbor: float) -> Tensor:
    """What comes back of a pixel's own 1, all vertices around it being there: (d+1, P) → (P,).

    It depends on the place in the simplex alone, and varies by half: a pixel on a vertex keeps its
    value together, one in the middle shares it out. Flat regions, all of whose pixels lie at one
    place, are filtered wrong by that factor. With the barycentric weights divided by its root,
    splatting and slicing, it is 1 everywhere, and the filter stays symmetric.

    From vertex k to vertex l of a simplex lie |k - l| steps, each along another axis; or, as the
    steps along all axes add up to nothing, d+1 - |k - l| steps back along the remaining axes.
    """
    sides = len(weights)
    total = (1 + 2 * neighbor**sides) * weights.square().sum(0)
    for steps in range(1, sides):
        coupling = neighbor**steps + neighbor ** (sides - steps)
        total += 2 * coupling * (weights[steps:] * weights[:-steps]).sum(0)
    return total


class Keys:
    """Simplices and vertices of all groups as single int64 numbers.

    A vertex is (group, d coordinates), the last coordinate following from the sum 0. Coordinates
    are digits of a number with a radix of their own, wide enough for every occupied vertex and
    `MARGIN` steps around it; so a step along an axis is the same addition for all vertices, and
    no two vertices share a number.
    """

    MARGIN = 2  # steps: the ring around occupied vertices, and one more that is asked for

    def __init__(self, low: list[int], high: list[int], num_groups: int) -> None:
        """Bounds of origin (see `enclosing_simplex`), inclusive, for the first d coordinates."""
        self.low, self.d = low, len(low)
        self.sides = self.d + 1
        self.spans = [b - a + 1 for a, b in zip(low, high, strict=True)]
        # a vertex lies up to one side below or above its simplex's origin, a step moves it by
        # at most one side
        self.pad = (1 + self.MARGIN) * self.sides
        self.radix = [span * self.sides + 2 * self.pad for span in self.spans]
        if math.prod(self.radix) * num_groups >= 2**62:
            raise ValueError(
                "features span too many sigmas for method 'permutohedral': raise sigma "
                "(sigma_rgb, sigma_xy) or use method 'dense'"
            )

    def pack_simplex(self, group: Tensor, origin: Tensor, rank: Tensor) -> Tensor:
        """group (P,), origin and rank (d+1, P) → (P,). Smaller than a vertex's largest key."""
        key = group.to(torch.int64)
        for i in range(self.d):
            key = key * self.spans[i] + (origin[i] - self.low[i])
            key = key * self.sides + rank[i]
        return key

    def vertices(self, simplex: Tensor) -> Tensor:
        """Keys of the vertices of remainder 0...d of simplices (S,) → (d+1, S)."""
        digits = []
        for i in reversed(range(self.d)):
            rank = simplex % self.sides
            simplex = simplex // self.sides
            digits.append((rank, simplex % self.spans[i] * self.sides + self.pad))
            simplex = simplex // self.spans[i]
        keys = []
        for k in range(self.sides):
            key = simplex  # what is left is the group
            for (rank, base), radix in zip(reversed(digits), self.radix, strict=True):
                key = key * radix + (base + k - self.sides * (rank > self.d - k))
            keys.append(key)
        return torch.stack(keys)

    def axis_steps(self) -> list[int]:
        """What to add to a vertex's key for one step along each of the d+1 blur axes."""
        steps = []
        for axis in range(self.sides):
            step = 0
            for i in range(self.d):
                step = step * self.radix[i] + (1 - self.sides if i == axis else 1)
            steps.append(step)
        return steps
