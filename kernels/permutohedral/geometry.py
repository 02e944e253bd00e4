"""Geometry of the permutohedral lattice (Adams, Baek, Davis 2010), shared by the backends.

The lattice is a subset of the hyperplane of R^(d+1) whose coordinates sum to 0. The integer
coordinates of a vertex are all congruent modulo d+1; every simplex has one vertex of each remainder
0...d. A simplex is identified by its vertex of remainder 0 (divided by d+1: its origin) and by the
order of the point's residuals from that vertex (the ranks).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stencil:
    """Parameters by which the lattice approximates the Gaussian.

    Attributes:
        scale: sigma relative to the side of the lattice's cells; larger is finer.
        neighbor: blur weight of each of the two neighbours along an axis; the vertex itself has 1.
        amplitude: factor that scales the result to exp(-|f_i - f_j|^2 / 2).
        self_normalized: whether barycentric weights are divided by the root of `self_weight`, so
            that a pixel's weight to itself does not depend on its position in the simplex.
    """

    scale: float
    neighbor: float
    amplitude: float
    self_normalized: bool = True


# Measured for each d: of a grid of scales and neighbour weights, a pair that nearly minimizes the
# largest error against the exact filter, over 35 crops of real frames and 4 synthetic frames with
# widely spread colours (colour; colour and position for d > 3; one and two channels for d < 3;
# sigma_rgb 10...20, sigma_xy 43...100), with the one-ring of neighbours. The amplitude minimizes
# the largest error; it is near 1 because of the self-normalization. Largest errors of filtered
# values: 2.4, 2.8, 3.5, 3.4 and 3.9 % for d = 1...5, of energies 2.0, 1.6, 1.9, 2.1 and 3.4 %.
# Without self-normalization the best pairs have 4.8 % (d = 3) and 8.1 % (d = 5).
STENCILS = {
    1: Stencil(0.90, 0.58, 1.0190),
    2: Stencil(0.90, 0.58, 0.9914),
    3: Stencil(0.90, 0.55, 0.9934),
    4: Stencil(0.90, 0.55, 0.9892),
    5: Stencil(0.90, 0.55, 0.9960),
}


def published_stencil(d: int) -> Stencil:
    """Stencil of the C++ lattice of Krähenbühl and Koltun (2011); results are 20-50 % too small."""
    return Stencil(math.sqrt(2 / 3), 0.5, 1 / (1 + 2.0**-d), self_normalized=False)


def stencil_of(method: str, d: int) -> tuple[Stencil, bool]:
    """Stencil of a method for d features, and whether the one-ring of neighbours is inserted."""
    if method == "permutohedral-published":
        return published_stencil(d), False
    return STENCILS[d], True


def axis_factors(sigmas: Sequence[float], scale: float) -> list[float]:
    """Scale factors of the features before `elevate`: one per feature."""
    d = len(sigmas)
    return [scale * (d + 1) / (math.sqrt(k * (k + 1)) * s) for k, s in enumerate(sigmas, start=1)]


def elevate(features: Tensor, factors: Sequence[float]) -> Tensor:
    """Map points of R^d onto the lattice's hyperplane: (d, P), `axis_factors` → (d+1, P)."""
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
    """Find the simplex that contains each point, and the point's barycentric weights.

    Args:
        elevated: (d+1, P) points on the hyperplane.

    Returns:
        origin: (d+1, P) int32, the vertex of remainder 0 divided by d+1.
        rank: (d+1, P) int32, a permutation; 0 for the coordinate with the largest residual.
        weights: (d+1, P) barycentric weights of the vertices of remainder 0...d; they sum to 1.
    """
    sides = len(elevated)
    scaled = elevated * (1 / sides)
    nearest = (scaled + 0.5).floor()
    residual = scaled - nearest
    rank = torch.zeros(elevated.shape, dtype=torch.int32, device=elevated.device)
    for i in range(sides):
        for j in range(i + 1, sides):
            smaller = residual[i] < residual[j]
            rank[i] += smaller
            rank[j] += ~smaller
    # rounding each coordinate may leave the hyperplane: shift those that were rounded the furthest
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
    """Weight of a pixel to itself in a lattice without missing vertices: (d+1, P) → (P,).

    It depends on the position in the simplex only and varies by half: large on a vertex, small in
    the middle. All pixels of a uniform region have the same position, and their filtered values are
    wrong by this factor. With the barycentric weights divided by its square root, in splat and
    slice, it is 1 everywhere, and the filter remains symmetric.

    Vertex l of a simplex is reached from vertex k by |k - l| steps along different axes or, since
    steps along all axes sum to 0, by d+1 - |k - l| steps back along the remaining axes.
    """
    sides = len(weights)
    total = (1 + 2 * neighbor**sides) * weights.square().sum(0)
    for steps in range(1, sides):
        coupling = neighbor**steps + neighbor ** (sides - steps)
        total += 2 * coupling * (weights[steps:] * weights[:-steps]).sum(0)
    return total


class Keys:
    """Keys: simplices and vertices of all groups as single int64 numbers.

    A vertex is (group, d coordinates); the last coordinate follows from the sum 0. Coordinates are
    digits of a mixed-radix number, whose radices cover every occupied vertex and `MARGIN` steps
    around it. A step along an axis is the same addition for all vertices, and keys are unique.
    """

    MARGIN = 2  # steps: the ring around occupied vertices, and the neighbours of the ring

    def __init__(self, low: list[int], high: list[int], num_groups: int) -> None:
        """Computes the radices.

        Args:
            low: smallest values of the first d coordinates of origin, see `enclosing_simplex`.
            high: their largest values.
            num_groups: number of groups.

        Raises:
            ValueError: keys would exceed 62 bits.
        """
        self.low, self.d = low, len(low)
        self.sides = self.d + 1
        self.spans = [b - a + 1 for a, b in zip(low, high, strict=True)]
        # a vertex differs from its simplex's origin by at most one side, and so does a step
        self.pad = (1 + self.MARGIN) * self.sides
        self.radix = [span * self.sides + 2 * self.pad for span in self.spans]
        if math.prod(self.radix) * num_groups >= 2**62:
            raise ValueError(
                "features span too many sigmas for method 'permutohedral': raise sigma "
                "(sigma_rgb, sigma_xy) or use method 'dense'"
            )

    def pack_simplex(self, group: Tensor, origin: Tensor, rank: Tensor) -> Tensor:
        """Keys of simplices: group (P,), origin and rank (d+1, P) → (P,); less than 2^62."""
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
            key = simplex  # the remaining digits are the group
            for (rank, base), radix in zip(reversed(digits), self.radix, strict=True):
                key = key * radix + (base + k - self.sides * (rank > self.d - k))
            keys.append(key)
        return torch.stack(keys)

    def axis_steps(self) -> list[int]:
        """Differences of vertex keys for one step along each of the d+1 blur axes."""
        steps = []
        for axis in range(self.sides):
            step = 0
            for i in range(self.d):
                step = step * self.radix[i] + (1 - self.sides if i == axis else 1)
            steps.append(step)
        return steps
