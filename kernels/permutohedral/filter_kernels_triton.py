"""Kernels that filter maps on a filled permutohedral lattice: splat, blur, slice.

Pixels are summed per simplex and corner first (one contiguous row per simplex), then simplices into
vertices, both as int64 in fixed point; everything else is float32. On real frames simplices are a
quarter to a half of the pixels at d = 5, and far fewer at d = 3.
"""

import triton
import triton.language as tl

from colocam.kernels.launch import WINDOW
from colocam.kernels.permutohedral.simplex_triton import (
    enclosing_simplex,
    scaled_features,
    self_normalized,
)
from colocam.kernels.points_triton import (
    add_to_rows,
    group_of,
    inverse_of,
    is_invalid,
    pixel_position,
    read_values,
)


@triton.jit
def clear(
    simplex_list, sums, values, counters,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sums (simplex slots, WIDTH) and values (vertices, MAPS), int64, = 0 where occupied."""
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
            tl.zeros((BLOCK, PADDED), tl.int64),
            mask=(row < simplices)[:, None] & (column < WIDTH),
        )
        for c in tl.static_range(MAPS):
            tl.store(values + row.to(tl.int64) * MAPS + c, 0, mask=row < vertices)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=WINDOW)
def splat(
    source, group, simplex_of, maps, sums, invalid_groups, units, bound,
    points, plane, width, stride_f, stride_c, stride_y, stride_x,
    maps_f, maps_c, maps_y, maps_x, f0, f1, f2, f3, f4, first: tl.int64, last: tl.int64,
    D: tl.constexpr, XY: tl.constexpr, SELF_NORMALIZED: tl.constexpr, NEIGHBOR: tl.constexpr,
    BITS: tl.constexpr, MAPS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sums[simplex, corner, map] += weight of the corner · value of the map."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = pixel_position(point, plane, width)
    number, in_pass = group_of(group, frame, point, points, first, last)
    if tl.max(in_pass.to(tl.int32)) > 0:
        simplex = tl.load(simplex_of + point, mask=in_pass, other=-1)
        active = simplex >= 0
        features, valid = scaled_features(
            source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x,
            f0, f1, f2, f3, f4, D, XY, False,
        )  # fmt: skip
        _, _, weights, _ = enclosing_simplex(features, valid, 1 << (BITS - 4), D)
        if SELF_NORMALIZED:
            weights = self_normalized(weights, D, NEIGHBOR)
        values, active = read_values(
            maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, invalid_groups, number,
            units, bound, MAPS,
        )  # fmt: skip
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
    """values[vertex, map] += sums[simplex, corner, map], int64."""
    count = tl.load(counters)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        simplex = tl.load(simplex_list + row, mask=active, other=0).to(tl.int64)
        for k in tl.static_range(D + 1):
            vertex = tl.load(corner + simplex * (D + 1) + k, mask=active, other=0).to(tl.int64)
            for c in tl.static_range(MAPS):
                part = tl.load(sums + (simplex * (D + 1) + k) * MAPS + c, mask=active, other=0)
                tl.atomic_add(values + vertex * MAPS + c, part, mask=active, sem="relaxed")
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=("axis_a", "axis_b", "capacity"))
def blur(
    neighbors, before, after, counters, axis_a, axis_b, capacity, neighbor,
    MAPS: tl.constexpr, FIRST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Blurs along one axis of each order: before, after (vertices, 2 orders, MAPS).

    For the FIRST axis `before` has the sums of the points, (vertices, MAPS) int64 in fixed point,
    which both orders read.
    """
    count = tl.load(counters + 1) + tl.load(counters + 2)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        vertex = row.to(tl.int64)
        for order in tl.static_range(2):
            axis = axis_a if order == 0 else axis_b
            pair = neighbors + (axis.to(tl.int64) * capacity + vertex) * 2
            up = tl.load(pair, mask=active, other=-1).to(tl.int64)
            down = tl.load(pair + 1, mask=active, other=-1).to(tl.int64)
            for c in tl.static_range(MAPS):
                width = MAPS if FIRST else 2 * MAPS
                read = c if FIRST else order * MAPS + c
                own = tl.load(before + vertex * width + read, mask=active, other=0)
                above = tl.load(before + up * width + read, mask=up >= 0, other=0)
                below = tl.load(before + down * width + read, mask=down >= 0, other=0)
                both = above.to(tl.float32) + below.to(tl.float32)
                out = own.to(tl.float32) + neighbor * both
                tl.store(after + vertex * (2 * MAPS) + order * MAPS + c, out, mask=active)
        start += tl.num_programs(0) * BLOCK


@triton.jit
def distribute(
    simplex_list, corner, values, rows, counters,
    D: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """rows[simplex, corner, map] = sum of both orders at the vertex.

    rows is the memory of the int64 sums, viewed as float32: rows have twice the length.
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
    source, group, simplex_of, rows, invalid_groups, units, out,
    points, plane, width, stride_f, stride_c, stride_y, stride_x,
    out_f, out_c, out_p, f0, f1, f2, f3, f4,
    first: tl.int64, last: tl.int64, num_groups, amplitude,
    D: tl.constexpr, XY: tl.constexpr, SELF_NORMALIZED: tl.constexpr, NEIGHBOR: tl.constexpr,
    BITS: tl.constexpr, MAPS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = amplitude · weighted sum over corners; NaN for invalid groups."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = pixel_position(point, plane, width)
    number, in_pass = group_of(group, frame, point, points, first, last)
    if tl.max(in_pass.to(tl.int32)) > 0:
        simplex = tl.load(simplex_of + point, mask=in_pass, other=-1)
        active = simplex >= 0
        features, valid = scaled_features(
            source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x,
            f0, f1, f2, f3, f4, D, XY, False,
        )  # fmt: skip
        _, _, weights, _ = enclosing_simplex(features, valid, 1 << (BITS - 4), D)
        if SELF_NORMALIZED:
            weights = self_normalized(weights, D, NEIGHBOR)
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.load(
            rows + simplex.to(tl.int64)[:, None] * (2 * WIDTH) + column,
            mask=active[:, None] & (column < WIDTH),
            other=0.0,
        )
        for k in tl.static_range(D + 1):
            chosen = (column >= k * MAPS) & (column < (k + 1) * MAPS)
            tile = tl.where(chosen, tile * weights[k][:, None], tile)
        invalid = is_invalid(invalid_groups, number, num_groups, in_pass)
        at = out + frame * out_f + (point - frame * plane) * out_p
        for c in tl.static_range(MAPS):
            total = tl.sum(tl.where(column % MAPS == c, tile, 0.0), axis=1)
            total *= amplitude * inverse_of(tl.load(units + c))
            tl.store(at + c * out_c, tl.where(invalid, float("nan"), total), mask=in_pass)
