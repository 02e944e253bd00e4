"""The Gaussian filter on the permutohedral lattice as Triton kernels.

The numbers are those of the torch twin (`permutohedral_torch`), which is the text to read first.
Here everything stays on the device, and nothing waits for the host:

1. `insert_simplices`: every pixel finds its simplex and puts it into a hash table. Natural frames
   have a thousand times fewer simplices than pixels.
2. `insert_vertices`: every simplex puts its d+1 vertices into a second table.
3. `insert_ring`: every vertex puts its 2(d+1) neighbours in.
4. `clear`, `splat`: pixels are summed per simplex and corner, `collect`: simplices into vertices.
5. `blur`, once an axis: the orders forward and backward run side by side in one launch.
6. `distribute`: vertices back to the corners of simplices, `slice_pixels`: read by the pixels.

A pixel's geometry is a few dozen operations: it is worked out anew from the image where it is
needed (1, 4, 6) instead of being stored. Sums over pixels are float64, all else is float32.

Tables cannot fill up: see `room`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from colocam.kernels.launch import (
    WINDOW,
    Points,
    Window,
    block,
    ceil_div,
    filter_in_passes,
    workers,
)
from colocam.kernels.permutohedral.geometry import Stencil, axis_factors
from colocam.kernels.permutohedral.hash_table_triton import append, find, insert
from colocam.kernels.points_triton import (
    add_to_rows,
    group_of,
    is_bad,
    mark_bad,
    place_of,
    read_points,
)

BLOCK = block(128)  # points a program; no more threads than points, see `insert`
STRIP = 16  # neighbouring points that are summed before they meet others
CHANNELS = 4  # maps that are filtered at once
ROW_BLOCK = block(64)  # simplices or vertices a program works on at a time
ROW_WARPS = 2  # of programs that insert them: no more threads than rows, see `insert`
KEY_BITS = 62


@triton.jit
def scaled_features(
    source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x,
    f0, f1, f2, f3, f4, D: tl.constexpr, XY: tl.constexpr, COLORS: tl.constexpr,
):  # fmt: skip
    """Features times the lattice's factors (a tuple of D), and whether colours are 0...255."""
    factors = (f0, f1, f2, f3, f4)
    if XY:
        read = read_points(
            source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x, D - 2
        )
        read = read + (x.to(tl.float32), y.to(tl.float32))
    else:
        read = read_points(source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x, D)
    sound = active
    features = ()
    for k in tl.static_range(D):
        if COLORS and k < 3:
            sound = sound & (read[k] >= 0) & (read[k] <= 255)
        features = features + (read[k] * factors[k],)
    return features, sound


@triton.jit
def enclosing_simplex(features, sound, HALF: tl.constexpr, D: tl.constexpr):
    """`lattice.elevate` and `lattice.enclosing_simplex`, operation by operation.

    Returns origin, rank (int32) and barycentric weights, tuples of D + 1, and whether the origin
    is within -HALF...HALF-1 (a point that is not finite is not).
    """
    SIDES: tl.constexpr = D + 1
    total = tl.zeros_like(features[0])
    elevated = ()
    for i in tl.static_range(D):
        x = features[D - 1 - i]
        elevated = (total - (D - i) * x,) + elevated
        total = total + x
    elevated = (total,) + elevated
    nearest = ()
    residual = ()
    excess = tl.zeros_like(sound.to(tl.int32))
    for i in tl.static_range(SIDES):
        scaled = elevated[i] * (1.0 / SIDES)
        sound = sound & (scaled > -HALF + 1) & (scaled < HALF - 2)
        scaled = tl.where(sound, scaled, 0.0)
        whole = tl.floor(scaled + 0.5)
        nearest = nearest + (whole.to(tl.int32),)
        residual = residual + (scaled - whole,)
        excess += whole.to(tl.int32)
    origin = ()
    ranks = ()
    moved = ()
    for i in tl.static_range(SIDES):
        rank = excess
        for j in tl.static_range(SIDES):
            if j < i:
                rank += (residual[j] >= residual[i]).to(tl.int32)
            if j > i:
                rank += (residual[j] > residual[i]).to(tl.int32)
        shift = (rank < 0).to(tl.int32) - (rank >= SIDES).to(tl.int32)
        origin = origin + (nearest[i] + shift,)
        ranks = ranks + (rank + SIDES * shift,)
        moved = moved + (residual[i] - shift.to(tl.float32),)
    ordered = ()
    for r in tl.static_range(SIDES):
        value = tl.zeros_like(total)
        for i in tl.static_range(SIDES):
            value = tl.where(ranks[i] == r, moved[i], value)
        ordered = ordered + (value,)
    weights = (1 + ordered[D] - ordered[0],)
    for k in tl.static_range(D):
        weights = weights + (ordered[D - 1 - k] - ordered[D - k],)
    return origin, ranks, weights, sound


@triton.jit
def leveled(weights, D: tl.constexpr, NEIGHBOR: tl.constexpr):
    """Weights divided by the root of `lattice.self_weight`."""
    SIDES: tl.constexpr = D + 1
    total = tl.zeros_like(weights[0])
    for k in tl.static_range(SIDES):
        total += weights[k] * weights[k]
    # powers by products: no pow of constants in kernels
    around = 1.0
    for _ in tl.static_range(SIDES):
        around = around * NEIGHBOR
    total = total * (1 + 2 * around)
    onward = 1.0
    for steps in tl.static_range(1, SIDES):
        onward = onward * NEIGHBOR
        product = tl.zeros_like(total)
        for k in tl.static_range(SIDES - steps):
            product += weights[k + steps] * weights[k]
        total += 2 * (onward + around / onward) * product
    scale = 1 / tl.sqrt(total)
    out = ()
    for k in tl.static_range(SIDES):
        out = out + (weights[k] * scale,)
    return out


@triton.jit(do_not_specialize=WINDOW)
def insert_simplices(
    source, group, simplex_of, table, listed, counters, bad,
    points, plane, width, stride_f, stride_c, stride_y, stride_x,
    f0, f1, f2, f3, f4, first: tl.int64, last: tl.int64, num_groups, places,
    D: tl.constexpr, XY: tl.constexpr, COLORS: tl.constexpr, BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Points → simplex_of (points,): their simplex's place in the table, -1 for bad points."""
    HALF: tl.constexpr = 1 << (BITS - 4)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = place_of(point, plane, width)
    number, mine = group_of(group, frame, point, points, first, last)
    if tl.max(mine.to(tl.int32)) > 0:
        features, sound = scaled_features(
            source, frame, y, x, mine, stride_f, stride_c, stride_y, stride_x,
            f0, f1, f2, f3, f4, D, XY, COLORS,
        )  # fmt: skip
        origin, rank, _, sound = enclosing_simplex(features, sound, HALF, D)
        active = mark_bad(bad, number, num_groups, mine, sound)
        key = tl.where(active, number, 0)
        for i in tl.static_range(D):
            key = (key << BITS) | (((origin[i] + HALF) << 3) | rank[i]).to(tl.int64)
        place, created = insert(table, key, active, places)
        append(listed, counters, 0, place, created)
        tl.store(simplex_of + point, tl.where(active, place, -1), mask=mine)


@triton.jit
def insert_vertices(
    simplices, simplex_list, vertices, vertex_list, corner, counters, places,
    D: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Simplices → corner (simplex places, D + 1): the places of their vertices."""
    SIDES: tl.constexpr = D + 1
    MASK: tl.constexpr = (1 << BITS) - 1
    count = tl.load(counters)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        simplex = tl.load(simplex_list + row, mask=active, other=0)
        packed = tl.load(simplices + simplex, mask=active, other=0)
        for k in tl.static_range(SIDES):
            key = packed >> (BITS * D)  # the group
            for i in tl.static_range(D):
                digit = ((packed >> (BITS * (D - 1 - i))) & MASK).to(tl.int32)
                rank = digit & 7
                coordinate = (digit >> 3) * SIDES + k + 3 * SIDES
                coordinate -= SIDES * (rank > D - k).to(tl.int32)
                key = (key << BITS) | coordinate.to(tl.int64)
            place, created = insert(vertices, key, active, places)
            append(vertex_list, counters + 1, 0, place, created)
            tl.store(corner + simplex.to(tl.int64) * SIDES + k, place, mask=active)
        start += tl.num_programs(0) * BLOCK


@triton.jit
def axis_step(axis, D: tl.constexpr, BITS: tl.constexpr):
    """What one step up an axis adds to a vertex's key: 1 to all coordinates, less D + 1 at one."""
    ones = tl.full((), 0, tl.int64)
    for _ in tl.static_range(D):
        ones = (ones << BITS) + 1
    at = tl.full((), 1, tl.int64) << (BITS * tl.maximum(D - 1 - axis, 0))
    return ones - tl.where(axis < D, (D + 1) * at, 0)  # the last coordinate is not in the key


@triton.jit
def insert_ring(
    vertices, vertex_list, counters, places,
    D: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The neighbours of the counters[1] vertices; program_id(1) says along which axis and way."""
    count = tl.load(counters + 1)
    step = axis_step(tl.program_id(1) // 2, D, BITS)
    step = tl.where(tl.program_id(1) % 2 == 0, step, -step)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        vertex = tl.load(vertex_list + row, mask=active, other=0)
        key = tl.load(vertices + vertex, mask=active, other=0) + step
        place, created = insert(vertices, key, active, places)
        append(vertex_list, counters + 2, count, place, created)
        start += tl.num_programs(0) * BLOCK


@triton.jit
def clear(
    simplex_list, vertex_list, sums, values, counters,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sums (simplex places, WIDTH) and values (vertex places, 2 MAPS) = 0 where occupied."""
    simplices = tl.load(counters)
    vertices = tl.load(counters + 1) + tl.load(counters + 2)
    column = tl.arange(0, PADDED)[None, :]
    start = tl.program_id(0) * BLOCK
    most = tl.maximum(simplices, vertices)
    while start < most:
        row = start + tl.arange(0, BLOCK)
        simplex = tl.load(simplex_list + row, mask=row < simplices, other=0).to(tl.int64)
        tl.store(
            sums + simplex[:, None] * WIDTH + column,
            tl.zeros((BLOCK, PADDED), tl.float64),
            mask=(row < simplices)[:, None] & (column < WIDTH),
        )
        vertex = tl.load(vertex_list + row, mask=row < vertices, other=0).to(tl.int64)
        for c in tl.static_range(MAPS):
            tl.store(values + vertex * (2 * MAPS) + c, 0.0, mask=row < vertices)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=WINDOW)
def splat(
    source, group, simplex_of, maps, sums,
    points, plane, width, stride_f, stride_c, stride_y, stride_x,
    maps_f, maps_c, maps_y, maps_x, f0, f1, f2, f3, f4, first: tl.int64, last: tl.int64,
    D: tl.constexpr, XY: tl.constexpr, LEVELED: tl.constexpr, NEIGHBOR: tl.constexpr,
    BITS: tl.constexpr, MAPS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sums[simplex, corner, map] += weight of the corner times the map."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = place_of(point, plane, width)
    _number, mine = group_of(group, frame, point, points, first, last)
    if tl.max(mine.to(tl.int32)) > 0:
        simplex = tl.load(simplex_of + point, mask=mine, other=-1)
        active = simplex >= 0
        features, sound = scaled_features(
            source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x,
            f0, f1, f2, f3, f4, D, XY, False,
        )  # fmt: skip
        _, _, weights, _ = enclosing_simplex(features, sound, 1 << (BITS - 4), D)
        if LEVELED:
            weights = leveled(weights, D, NEIGHBOR)
        values = read_points(maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, MAPS)
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.zeros((BLOCK, PADDED), tl.float32)
        for k in tl.static_range(D + 1):
            for c in tl.static_range(MAPS):
                part = weights[k] * values[c]
                tile = tl.where(column == k * MAPS + c, part[:, None], tile)
        add_to_rows(sums, simplex, tile, active, WIDTH, STRIP, BLOCK, PADDED)


@triton.jit
def collect(
    simplex_list, corner, sums, values, counters,
    D: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """values[vertex, map] += sums[simplex, corner, map]."""
    count = tl.load(counters)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        simplex = tl.load(simplex_list + row, mask=active, other=0).to(tl.int64)
        for k in tl.static_range(D + 1):
            vertex = tl.load(corner + simplex * (D + 1) + k, mask=active, other=0).to(tl.int64)
            for c in tl.static_range(MAPS):
                part = tl.load(sums + (simplex * (D + 1) + k) * MAPS + c, mask=active, other=0.0)
                tl.atomic_add(
                    values + vertex * (2 * MAPS) + c,
                    part.to(tl.float32),
                    mask=active,
                    sem="relaxed",
                )
        start += tl.num_programs(0) * BLOCK


@triton.jit
def blur(
    vertices, vertex_list, before, after, counters, places, step_a, step_b, neighbor,
    MAPS: tl.constexpr, FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One axis of each order: before, after (vertex places, 2 orders, MAPS).

    The FIRST axis of both orders reads what was splatted, where the first order lies.
    """
    count = tl.load(counters + 1) + tl.load(counters + 2)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        vertex = tl.load(vertex_list + row, mask=active, other=0).to(tl.int64)
        key = tl.load(vertices + vertex, mask=active, other=0)
        for order in tl.static_range(2):
            step = step_a if order == 0 else step_b
            up = find(vertices, key + step, active, places).to(tl.int64)
            down = find(vertices, key - step, active, places).to(tl.int64)
            for c in tl.static_range(MAPS):
                read = c if FIRST else order * MAPS + c
                own = tl.load(before + vertex * (2 * MAPS) + read, mask=active, other=0.0)
                pull = tl.load(before + up * (2 * MAPS) + read, mask=up >= 0, other=0.0)
                pull += tl.load(before + down * (2 * MAPS) + read, mask=down >= 0, other=0.0)
                out = own + neighbor * pull
                tl.store(after + vertex * (2 * MAPS) + order * MAPS + c, out, mask=active)
        start += tl.num_programs(0) * BLOCK


@triton.jit
def distribute(
    simplex_list, corner, values, rows, counters,
    D: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """rows[simplex, corner, map] = the sum of both orders at the vertex.

    rows is the memory of sums, read as float32: rows as long as WIDTH float64 are.
    """
    count = tl.load(counters)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        simplex = tl.load(simplex_list + row, mask=active, other=0).to(tl.int64)
        for k in tl.static_range(D + 1):
            vertex = tl.load(corner + simplex * (D + 1) + k, mask=active, other=0).to(tl.int64)
            for c in tl.static_range(MAPS):
                at = values + vertex * (2 * MAPS) + c
                both = tl.load(at, mask=active, other=0.0)
                both += tl.load(at + MAPS, mask=active, other=0.0)
                tl.store(rows + (simplex * (D + 1) * 2 + k) * MAPS + c, both, mask=active)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=WINDOW)
def slice_pixels(
    source, group, simplex_of, rows, bad, out,
    points, plane, width, stride_f, stride_c, stride_y, stride_x,
    out_f, out_c, out_p, f0, f1, f2, f3, f4,
    first: tl.int64, last: tl.int64, num_groups, amplitude,
    D: tl.constexpr, XY: tl.constexpr, LEVELED: tl.constexpr, NEIGHBOR: tl.constexpr,
    BITS: tl.constexpr, MAPS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = amplitude times the weighted sum over the corners; NaN where bad."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = place_of(point, plane, width)
    number, mine = group_of(group, frame, point, points, first, last)
    if tl.max(mine.to(tl.int32)) > 0:
        simplex = tl.load(simplex_of + point, mask=mine, other=-1)
        active = simplex >= 0
        features, sound = scaled_features(
            source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x,
            f0, f1, f2, f3, f4, D, XY, False,
        )  # fmt: skip
        _, _, weights, _ = enclosing_simplex(features, sound, 1 << (BITS - 4), D)
        if LEVELED:
            weights = leveled(weights, D, NEIGHBOR)
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.load(
            rows + simplex.to(tl.int64)[:, None] * (2 * WIDTH) + column,
            mask=active[:, None] & (column < WIDTH),
            other=0.0,
        )
        for k in tl.static_range(D + 1):
            chosen = (column >= k * MAPS) & (column < (k + 1) * MAPS)
            tile = tl.where(chosen, tile * weights[k][:, None], tile)
        spoilt = is_bad(bad, number, num_groups, mine)
        at = out + frame * out_f + (point - frame * plane) * out_p
        for c in tl.static_range(MAPS):
            total = tl.sum(tl.where(column % MAPS == c, tile, 0.0), axis=1) * amplitude
            tl.store(at + c * out_c, tl.where(spoilt, float("nan"), total), mask=mine)


@dataclass(frozen=True)
class Room:
    """Different simplices and vertices that there can be at most."""

    simplices: int
    vertices: int

    @property
    def places(self) -> tuple[int, int]:
        """Places of the two hash tables: a quarter stays empty even then."""
        return self.simplices * 4 // 3 + 8, self.vertices * 4 // 3 + 8


def room(
    points: int, groups: int, factors: list[float], extents: list[float] | None, ring: bool
) -> Room:
    """Bounds for so many points, or for any number of points whose features span `extents`.

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
    return Room(simplices, vertices)


def key_bits(d: int, num_groups: int) -> int:
    """Bits of a key for one coordinate: 62 in all, the group's taken off."""
    bits = min(20, (KEY_BITS - num_groups.bit_length()) // d)
    if bits < 8:
        raise ValueError(
            f"num_groups is {num_groups}: too many for method 'permutohedral' with {d} features "
            "on this device; use backend 'torch'"
        )
    return bits


def check_reach(factors: list[float], extents: list[float], bits: int, num_groups: int) -> None:
    """Features from 0 to `extents` must have keys, as `lattice.elevate` spreads them out."""
    lengths = [factor * extent for factor, extent in zip(factors, extents, strict=True)]
    along = [k * length for k, length in enumerate(lengths, start=1)]
    if max(sum(lengths), *along) / (len(lengths) + 1) >= (1 << (bits - 4)) - 3:
        raise ValueError(
            f"sigma_rgb or sigma_xy is too small for method 'permutohedral' with {num_groups} "
            "group(s) on this device; use backend 'torch'"
        )


class TritonLattice:
    """The filter for given points; `apply` may be called with any maps."""

    def __init__(
        self,
        points: Points,
        sigmas: list[float],
        *,
        xy: bool,
        stencil: Stencil,
        ring: bool = True,
    ) -> None:
        """Sigmas: of the channels of points and, with xy, of column and row.

        `ring` inserts the neighbours of occupied vertices.
        """
        self.points, self.stencil, self.ring, self.xy = points, stencil, ring, xy
        self.d = len(sigmas)
        self.factors = axis_factors(sigmas, stencil.scale)
        self.bits = key_bits(self.d, points.num_groups)
        self.extents = None
        if points.colors:
            height, width = points.tensor.shape[2:]
            self.extents = [255.0, 255.0, 255.0, width - 1.0, height - 1.0][: self.d]
            check_reach(self.factors, self.extents, self.bits, points.num_groups)

    def room(self, groups: int) -> Room:
        """What a pass over so many groups needs."""
        return room(self.points.count, groups, self.factors, self.extents, self.ring)

    def apply(self, maps: Tensor, limit: int | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous."""
        simplex_of = torch.empty(self.points.count, dtype=torch.int32, device=maps.device)

        def scratch(groups: int, maps: int) -> int:
            simplices, vertices = self.room(groups).places
            row = (self.d + 1) * (8 * maps + 4) + 12  # sums, corners, key and list
            return simplices * row + vertices * (16 * maps + 12)

        def prepare(window: Window) -> Callable[[Tensor, Tensor], None]:
            return Tables(self, window, simplex_of).filter

        return filter_in_passes(self.points, maps, CHANNELS, scratch, prepare, limit)


class Tables:
    """The tables of one pass over a lattice, filled."""

    def __init__(self, lattice: TritonLattice, window: Window, simplex_of: Tensor) -> None:
        self.lattice, self.simplex_of, self.bad = lattice, simplex_of, window.bad
        self.range = (window.first, window.last)
        device, d = window.bad.device, lattice.d
        self.places = lattice.room(window.groups).places
        if max(self.places) >= 2**31:
            raise ValueError("too many points for method 'permutohedral': filter fewer at a time")
        keys = torch.full((sum(self.places),), -1, dtype=torch.int64, device=device)
        lists = torch.empty(sum(self.places), dtype=torch.int32, device=device)
        self.simplices, self.vertices = keys.split(self.places)
        self.simplex_list, self.vertex_list = lists.split(self.places)
        self.corner = torch.empty(self.places[0], d + 1, dtype=torch.int32, device=device)
        self.counters = torch.zeros(3, dtype=torch.int32, device=device)
        self.programs = (workers(device),)
        self._fill()

    def _fill(self) -> None:
        lattice, points = self.lattice, self.lattice.points
        shape = {"D": lattice.d, "BITS": lattice.bits}
        insert_simplices[self._blocks()](
            points.tensor, points.group, self.simplex_of,
            self.simplices, self.simplex_list, self.counters, self.bad,
            points.count, *points.plane, *points.tensor.stride(),
            *self._factors(), *self.range, points.num_groups, self.places[0],
            **shape, XY=lattice.xy, COLORS=points.colors, BLOCK=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
        insert_vertices[self.programs](
            self.simplices, self.simplex_list, self.vertices, self.vertex_list, self.corner,
            self.counters, self.places[1],
            **shape, BLOCK=ROW_BLOCK, num_warps=ROW_WARPS, maxnreg=64,
        )  # fmt: skip
        if lattice.ring:
            around = (ceil_div(self.programs[0], lattice.d + 1), 2 * (lattice.d + 1))
            insert_ring[around](
                self.vertices, self.vertex_list, self.counters, self.places[1],
                **shape, BLOCK=ROW_BLOCK, num_warps=ROW_WARPS,
            )  # fmt: skip

    def _blocks(self) -> tuple[int]:
        return (ceil_div(self.lattice.points.count, BLOCK),)

    def _factors(self) -> list[float]:
        return [*self.lattice.factors, *[0.0] * (5 - self.lattice.d)]

    def filter(self, maps: Tensor, out: Tensor) -> None:
        """Maps (F, up to CHANNELS, H, W) → out of the same shape, its planes contiguous."""
        lattice, points, d = self.lattice, self.lattice.points, self.lattice.d
        count = maps.shape[1]
        width = (d + 1) * count
        sums = torch.empty(self.places[0], width, dtype=torch.float64, device=maps.device)
        before, after = (
            torch.empty(self.places[1], 2 * count, dtype=torch.float32, device=maps.device)
            for _ in range(2)
        )
        pixels = {
            "D": d, "XY": lattice.xy, "LEVELED": lattice.stencil.leveled,
            "NEIGHBOR": lattice.stencil.neighbor, "BITS": lattice.bits, "MAPS": count,
            "WIDTH": width, "PADDED": triton.next_power_of_2(width), "BLOCK": BLOCK,
            "enable_fp_fusion": False,
        }  # fmt: skip
        rows = {"MAPS": count, "BLOCK": ROW_BLOCK}
        where = (points.count, *points.plane, *points.tensor.stride())
        clear[self.programs](
            self.simplex_list, self.vertex_list, sums, before, self.counters,
            WIDTH=width, PADDED=pixels["PADDED"], **rows,
        )  # fmt: skip
        splat[self._blocks()](
            points.tensor, points.group, self.simplex_of, maps, sums,
            *where, *maps.stride(), *self._factors(), *self.range, **pixels, STRIP=STRIP,
        )  # fmt: skip
        collect[self.programs](
            self.simplex_list, self.corner, sums, before, self.counters, D=d, **rows
        )
        steps = axis_steps(d, lattice.bits)
        for axis in range(d + 1):
            blur[self.programs](
                self.vertices, self.vertex_list, before, after, self.counters, self.places[1],
                steps[axis], steps[d - axis], lattice.stencil.neighbor,
                FIRST=axis == 0, **rows,
            )  # fmt: skip
            before, after = after, before
        distribute[self.programs](
            self.simplex_list, self.corner, before, sums.view(torch.float32), self.counters,
            D=d, **rows,
        )  # fmt: skip
        slice_pixels[self._blocks()](
            points.tensor, points.group, self.simplex_of, sums.view(torch.float32), self.bad, out,
            *where, out.stride(0), out.stride(1), 1, *self._factors(), *self.range,
            points.num_groups, 0.5 * lattice.stencil.amplitude, **pixels,
        )  # fmt: skip


def axis_steps(d: int, bits: int) -> list[int]:
    """What one step up each of the d+1 axes adds to a vertex's key (`axis_step`)."""
    ones = sum(1 << (bits * i) for i in range(d))
    return [ones - ((d + 1) << (bits * (d - 1 - axis))) for axis in range(d)] + [ones]
