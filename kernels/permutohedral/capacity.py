"""Bounds of the Triton lattice: capacity of its hash tables, width of its packed keys."""

import math
from dataclasses import dataclass

KEY_BITS = 62  # of a key: group and coordinates


@dataclass(frozen=True)
class Capacity:
    """Upper bounds of the numbers of distinct simplices, of their vertices, and of all vertices.

    The one-ring adds vertices that belong to no simplex.
    """

    simplices: int
    corners: int
    vertices: int

    @property
    def slots(self) -> tuple[int, int, int]:
        """Slots of the three hash tables: at least a quarter remains empty."""
        return slots_for(self.simplices), slots_for(self.corners), slots_for(self.vertices)


def slots_for(entries: int) -> int:
    """Slots of a hash table: at least a quarter remains empty."""
    return entries * 4 // 3 + 8


def table_capacity(
    points: int, groups: int, factors: list[float], extents: list[float] | None, ring: bool
) -> Capacity:
    """Bound simplices and vertices by the number of points and, if given, by `extents`.

    By points: a point has one simplex with d+1 vertices v_0 ... v_d; from each to the next, and
    from v_d to v_0, is one step along a different axis. A vertex has 2(d+1) neighbours. Two of them
    belong to the simplex, and v_k and v_{k+2} have one in common: the two steps between them in
    the other order. Hence at most (d+1)(1 + 2d - 1) = 2d(d+1) vertices per point.

    By extents: the features of a group fill a box. On the lattice's hyperplane, feature k is an
    axis along (1, ..., 1, -k, 0, ...), with k ones, and all axes are orthogonal. Along axis k

    - the extent of a simplex is at most w_k = (d+1) sqrt(k / (k+1)), and so is a step of the ring,
    - the Voronoi cell of a vertex, spanned by all permutations of (d, d-2, ..., -d) / 2, extends
      h_k to either side: k of its largest entries against its smallest.

    Simplices that intersect the box are within the box extended by w_k at each end; they do not
    overlap, and the volume of a simplex is 1/d! of that of a Voronoi cell, (d+1)^(d-1/2). Vertices
    are within the box extended by w_k, or by 2 w_k with the ring; their cells do not overlap and
    are within the box extended by another h_k.

    Args:
        points: number of points.
        groups: number of groups.
        factors: see `axis_factors`.
        extents: range of each feature; None: unknown.
        ring: whether the neighbours of occupied vertices are inserted.
    """
    d = len(factors)
    simplices, corners = points, points * (d + 1)
    vertices = corners * (2 * d if ring else 1)
    if extents is not None:
        for_simplices = for_corners = for_vertices = 1.0
        cell = [d / 2 - i for i in range(d + 1)]
        for k, (factor, extent) in enumerate(zip(factors, extents, strict=True), start=1):
            norm = math.sqrt(k * (k + 1))
            length = extent * factor * norm
            width = (d + 1) * k / norm
            reach = (sum(cell[:k]) + k * cell[0]) / norm
            for_simplices *= length + 2 * width
            for_corners *= length + 2 * (width + reach)
            for_vertices *= length + 2 * (width * (2 if ring else 1) + reach)
        volume = (d + 1) ** (d - 0.5)
        simplices = min(simplices, math.ceil(groups * for_simplices * math.factorial(d) / volume))
        corners = min(corners, math.ceil(groups * for_corners / volume))
        vertices = min(vertices, math.ceil(groups * for_vertices / volume))
    return Capacity(simplices, corners, vertices)


def key_bits(d: int, num_groups: int) -> int:
    """Bits per coordinate of a key: 62 minus the bits of the group, divided by d, at most 20.

    Raises:
        ValueError: fewer than 8 bits remain.
    """
    bits = min(20, (KEY_BITS - num_groups.bit_length()) // d)
    if bits < 8:
        raise ValueError(
            f"num_groups is {num_groups}: too many for method 'permutohedral' with {d} features "
            "on this device; use backend 'torch'"
        )
    return bits


def check_key_range(factors: list[float], extents: list[float], bits: int, num_groups: int) -> None:
    """Check that elevated features from 0 to `extents` fit into keys of `bits` per coordinate."""
    lengths = [factor * extent for factor, extent in zip(factors, extents, strict=True)]
    along = [k * length for k, length in enumerate(lengths, start=1)]
    if max(sum(lengths), *along) / (len(lengths) + 1) >= (1 << (bits - 4)) - 3:
        raise ValueError(
            "sigma_rgb or sigma_xy is too small (or feature_limit too large) for method "
            f"'permutohedral' with {num_groups} group(s) on this device; use backend 'torch'"
        )
