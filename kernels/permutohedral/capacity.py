"""Capacity of a permutohedral lattice: most simplices and vertices, and layout of its keys."""

import math
from dataclasses import dataclass

KEY_BITS = 62  # of an int64; keys are not negative, and -1 and -2 mark slots


@dataclass(frozen=True)
class Capacity:
    """Largest possible number of distinct simplices and vertices."""

    simplices: int
    vertices: int

    @property
    def slots(self) -> tuple[int, int]:
        """Slots of the two hash tables: at least a quarter stays empty."""
        return self.simplices * 4 // 3 + 8, self.vertices * 4 // 3 + 8


def capacity_for(
    points: int, groups: int, factors: list[float], extents: list[float] | None, ring: bool
) -> Capacity:
    """Bounds for a number of points, or for any number of points whose features span `extents`.

    By points: each has one simplex of d+1 vertices v_0 ... v_d, a step along another axis each from
    one to the next and from v_d to v_0. A vertex has 2(d+1) neighbours. Two of them belong to the
    simplex, and v_k and v_{k+2} have one in common: the steps between them, taken in the other
    order. That makes (d+1)(1 + 2d - 1) = 2d(d+1) vertices of one point at most.

    By extents: the features of a group fill a box. On the lattice's plane, feature k is an axis
    along (1, ..., 1, -k, 0, ...), with k ones, and all axes are at right angles. Along axis k

    - a simplex reaches w_k = (d+1) sqrt(k / (k+1)) at most, and so does one step of the ring,
    - the Voronoi cell of a vertex, all permutations of (d, d-2, ..., -d) / 2, reaches h_k, k of
      its largest entries against its smallest.

    Simplices that meet the box lie in the box widened by w_k at each end; they do not overlap, and
    a simplex has 1/d! of the volume that belongs to a vertex, (d+1)^(d-1/2). Vertices lie in the
    box widened by w_k, or 2 w_k with the ring; their cells do not overlap and lie in the box
    widened by h_k more.
    """
    d = len(factors)
    simplices = points
    vertices = points * (d + 1) * (2 * d if ring else 1)
    if extents is not None:
        for_simplices = for_vertices = 1.0
        cell = [d / 2 - i for i in range(d + 1)]
        for k, (factor, extent) in enumerate(zip(factors, extents, strict=True), start=1):
            norm = math.sqrt(k * (k + 1))
            length = extent * factor * norm
            width = (d + 1) * k / norm
            reach = (sum(cell[:k]) + k * cell[0]) / norm
            for_simplices *= length + 2 * width
            for_vertices *= length + 2 * (width * (2 if ring else 1) + reach)
        volume = (d + 1) ** (d - 0.5)
        simplices = min(simplices, math.ceil(groups * for_simplices * math.factorial(d) / volume))
        vertices = min(vertices, math.ceil(groups * for_vertices / volume))
    return Capacity(simplices, vertices)


def key_bits(d: int, num_groups: int) -> int:
    """Bits of a key per coordinate: 62 in all, without those of the group."""
    bits = min(20, (KEY_BITS - num_groups.bit_length()) // d)
    if bits < 8:
        raise ValueError(
            f"num_groups is {num_groups}: too many for method 'permutohedral' with {d} features "
            "on this device; use backend 'torch'"
        )
    return bits


def check_reach(factors: list[float], extents: list[float], bits: int, num_groups: int) -> None:
    """Checks that features from 0 to `extents` have keys after `geometry.elevate`."""
    lengths = [factor * extent for factor, extent in zip(factors, extents, strict=True)]
    along = [k * length for k, length in enumerate(lengths, start=1)]
    if max(sum(lengths), *along) / (len(lengths) + 1) >= (1 << (bits - 4)) - 3:
        raise ValueError(
            f"sigma_rgb or sigma_xy is too small for method 'permutohedral' with {num_groups} "
            "group(s) on this device; use backend 'torch'"
        )


def axis_steps(d: int, bits: int) -> list[int]:
    """Difference of a vertex's key for one step up each of the d+1 axes (`axis_step`)."""
    ones = sum(1 << (bits * i) for i in range(d))
    return [ones - ((d + 1) << (bits * (d - 1 - axis))) for axis in range(d)] + [ones]
