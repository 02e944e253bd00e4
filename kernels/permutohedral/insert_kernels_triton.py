"""Kernels that fill the hash tables of the permutohedral lattice.

A key packs the group and d coordinates with BITS bits each. A simplex's digit holds its origin
(offset by HALF) and its rank in the lowest three bits. counters: (3,) int32, the number of
simplices, of occupied vertices, and of vertices that only the one-ring adds; kernels over lists
loop up to these counts, which stay on the device.
"""

import triton
import triton.language as tl

from colocam.kernels.launch import WINDOW
from colocam.kernels.permutohedral.hash_table_triton import append, insert
from colocam.kernels.permutohedral.simplex_triton import enclosing_simplex, scaled_features
from colocam.kernels.points_triton import flag_invalid, group_of, pixel_position


@triton.jit(do_not_specialize=WINDOW)
def insert_simplices(
    source, group, simplex_of, table, listed, counters, invalid_groups,
    points, plane, width, stride_f, stride_c, stride_y, stride_x,
    f0, f1, f2, f3, f4, first: tl.int64, last: tl.int64, num_groups, slots,
    D: tl.constexpr, XY: tl.constexpr, COLORS: tl.constexpr, BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Points → simplex_of (points,): the slot of their simplex, -1 for invalid points."""
    HALF: tl.constexpr = 1 << (BITS - 4)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = pixel_position(point, plane, width)
    number, in_pass = group_of(group, frame, point, points, first, last)
    if tl.max(in_pass.to(tl.int32)) > 0:
        features, valid = scaled_features(
            source, frame, y, x, in_pass, stride_f, stride_c, stride_y, stride_x,
            f0, f1, f2, f3, f4, D, XY, COLORS,
        )  # fmt: skip
        origin, rank, _, valid = enclosing_simplex(features, valid, HALF, D)
        active = flag_invalid(invalid_groups, number, num_groups, in_pass, valid)
        key = tl.where(active, number, 0)
        for i in tl.static_range(D):
            key = (key << BITS) | (((origin[i] + HALF) << 3) | rank[i]).to(tl.int64)
        slot, created = insert(table, key, active, slots)
        append(listed, counters, 0, slot, created)
        tl.store(simplex_of + point, tl.where(active, slot, -1), mask=in_pass)


@triton.jit
def insert_vertices(
    simplices, simplex_list, vertices, vertex_list, corner, counters, slots,
    D: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Simplices → corner (simplex slots, D + 1): the slots of their vertices."""
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
            slot, created = insert(vertices, key, active, slots)
            append(vertex_list, counters + 1, 0, slot, created)
            tl.store(corner + simplex.to(tl.int64) * SIDES + k, slot, mask=active)
        start += tl.num_programs(0) * BLOCK


@triton.jit
def axis_step(axis, D: tl.constexpr, BITS: tl.constexpr):
    """Key difference of one step up an axis: +1 for all coordinates, and -(D + 1) for one."""
    ones = tl.full((), 0, tl.int64)
    for _ in tl.static_range(D):
        ones = (ones << BITS) + 1
    at = tl.full((), 1, tl.int64) << (BITS * tl.maximum(D - 1 - axis, 0))
    return ones - tl.where(axis < D, (D + 1) * at, 0)  # the last coordinate is not in the key


@triton.jit
def insert_ring(
    vertices, vertex_list, counters, slots,
    D: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Inserts neighbours of the counters[1] vertices; program_id(1): axis and direction."""
    count = tl.load(counters + 1)
    step = axis_step(tl.program_id(1) // 2, D, BITS)
    step = tl.where(tl.program_id(1) % 2 == 0, step, -step)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        vertex = tl.load(vertex_list + row, mask=active, other=0)
        key = tl.load(vertices + vertex, mask=active, other=0) + step
        slot, created = insert(vertices, key, active, slots)
        append(vertex_list, counters + 2, count, slot, created)
        start += tl.num_programs(0) * BLOCK
