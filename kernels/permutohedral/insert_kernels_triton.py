"""Kernels that fill the hash tables of the permutohedral lattice, and number its vertices.

A key packs the group and d coordinates with BITS bits each. A simplex's digit holds its origin
(offset by HALF) and its rank in the lowest three bits. counters: (3,) int32, the number of
simplices, of corners (vertices of simplices), and of vertices that only the one-ring adds; kernels
over lists loop up to these counts, which stay on the device.

Vertices are numbered: the corners first, then the ring. Everything but the hash tables is stored by
number. Of the tables of corners and of vertices only as many slots are cleared and used as the
entries that can follow from the counts: `used_slots`.
"""

import triton
import triton.language as tl

from colocam.kernels.launch import WINDOW
from colocam.kernels.permutohedral.hash_table_triton import append, find, insert
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
def used_slots(counters, SOURCE: tl.constexpr, ENTRIES: tl.constexpr, most):
    """Slots for ENTRIES keys per simplex (SOURCE 0) or corner (SOURCE 1), a quarter empty."""
    wanted = tl.load(counters + SOURCE).to(tl.int64) * ENTRIES
    return tl.minimum(wanted + wanted // 3 + 8, most).to(tl.int32)


@triton.jit(do_not_specialize=("most",))
def clear_slots(
    table, counters, most, SOURCE: tl.constexpr, ENTRIES: tl.constexpr, BLOCK: tl.constexpr
):
    """table = EMPTY in the slots in use."""
    slots = used_slots(counters, SOURCE, ENTRIES, most)
    start = tl.program_id(0) * BLOCK
    while start < slots:
        slot = start + tl.arange(0, BLOCK)
        tl.store(table + slot, tl.full((BLOCK,), -1, tl.int64), mask=slot < slots)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=("most",))
def insert_corners(
    simplices, simplex_list, table, listed, corner, counters, most,
    D: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Simplices → corner (simplex slots, D + 1): the slots of their vertices."""
    SIDES: tl.constexpr = D + 1
    MASK: tl.constexpr = (1 << BITS) - 1
    slots = used_slots(counters, 0, SIDES, most)
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
            slot, created = insert(table, key, active, slots)
            append(listed, counters + 1, 0, slot, created)
            tl.store(corner + simplex.to(tl.int64) * SIDES + k, slot, mask=active)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=("most",))
def number_corners(
    corners, listed, number_of, vertices, slot_of, number_in, counters, most,
    ENTRIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Numbers the corners in the order of their list, and inserts them into the table of vertices.

    number_of[slot in the table of corners], number_in[slot in the table of vertices] = number;
    slot_of[number] = the latter slot.
    """
    slots = used_slots(counters, 1, ENTRIES, most)
    count = tl.load(counters + 1)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        corner = tl.load(listed + row, mask=active, other=0)
        tl.store(number_of + corner, row, mask=active)
        key = tl.load(corners + corner, mask=active, other=0)
        slot, _ = insert(vertices, key, active, slots)
        tl.store(number_in + slot, row, mask=active)
        tl.store(slot_of + row, slot, mask=active)
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
def corners_by_number(
    simplex_list, corner, number_of, counters, SIDES: tl.constexpr, BLOCK: tl.constexpr
):
    """Replaces the slots in corner (simplex slots, SIDES) by the numbers of the vertices."""
    count = tl.load(counters)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        simplex = tl.load(simplex_list + row, mask=active, other=0).to(tl.int64)
        for k in tl.static_range(SIDES):
            slot = tl.load(corner + simplex * SIDES + k, mask=active, other=0)
            number = tl.load(number_of + slot, mask=active, other=0)
            tl.store(corner + simplex * SIDES + k, number, mask=active)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=("most",))
def insert_ring(
    vertices, slot_of, number_in, counters, most,
    D: tl.constexpr, BITS: tl.constexpr, ENTRIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Inserts and numbers the neighbours of the corners; program_id(1): axis and direction."""
    slots = used_slots(counters, 1, ENTRIES, most)
    count = tl.load(counters + 1)
    step = axis_step(tl.program_id(1) // 2, D, BITS)
    step = tl.where(tl.program_id(1) % 2 == 0, step, -step)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        vertex = tl.load(slot_of + row, mask=active, other=0)
        key = tl.load(vertices + vertex, mask=active, other=0) + step
        slot, created = insert(vertices, key, active, slots)
        number = append(slot_of, counters + 2, count, slot, created)
        tl.store(number_in + slot, number, mask=created)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=("capacity",))
def clear_neighbors(neighbors, counters, capacity, BLOCK: tl.constexpr):
    """neighbors[axis, number, direction] = -1 for the vertices in use; program_id(1): the axis."""
    count = 2 * (tl.load(counters + 1) + tl.load(counters + 2)).to(tl.int64)
    of_axis = neighbors + tl.program_id(1).to(tl.int64) * capacity * 2
    start = tl.program_id(0).to(tl.int64) * BLOCK
    while start < count:
        at = start + tl.arange(0, BLOCK)
        tl.store(of_axis + at, tl.full((BLOCK,), -1, tl.int32), mask=at < count)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=("most", "capacity"))
def find_neighbors(
    vertices, slot_of, number_in, neighbors, counters, most, capacity,
    D: tl.constexpr, BITS: tl.constexpr, ENTRIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """neighbors[axis, number, direction] = number of the vertex one step up (0) or down (1), or -1.

    program_id(1): the axis. A vertex that is found has this one as its neighbour down; the
    neighbours down are -1 before.
    """
    slots = used_slots(counters, 1, ENTRIES, most)
    count = tl.load(counters + 1) + tl.load(counters + 2)
    axis = tl.program_id(1)
    step = axis_step(axis, D, BITS)
    of_axis = neighbors + axis.to(tl.int64) * capacity * 2
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        vertex = tl.load(slot_of + row, mask=active, other=0)
        key = tl.load(vertices + vertex, mask=active, other=0)
        slot = find(vertices, key + step, active, slots)
        found = slot >= 0
        up = tl.load(number_in + slot, mask=found, other=-1)
        tl.store(of_axis + row.to(tl.int64) * 2, up, mask=active)
        tl.store(of_axis + up.to(tl.int64) * 2 + 1, row, mask=found)
        start += tl.num_programs(0) * BLOCK
