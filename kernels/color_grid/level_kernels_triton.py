"""Kernels of the colour grid for 8-bit colours (`LevelGrid` in `grid_triton.py` launches them).

A pixel contributes to 27 nodes, but within a cell there are few distinct colours. Pixels of equal
colour are summed first, one atomic addition per map instead of 27, and the sums of whole cells are
splatted by a small matrix product:

1. `mark_cells`: marks the occupied cells. `number_cells`: assigns a table row to each of them.
2. `clear_rows`, `sum_levels`: sums pixels per colour of their cell (int64, fixed point).
3. `cells_to_nodes`: sums times spline weights, onto the nodes.
4. The blur (`blur_triton.py`).
5. `nodes_to_cells`, `read_levels`: the transpose of 3 and 2.

A "level" is the index of a colour within its cell, 0...SIDE^3-1; a cell of SIDE^3 colours has one
table row. Kernels with a counter loop over the rows in use, whose number stays on the device.
"""

import triton
import triton.language as tl

from colocam.kernels.color_grid.node_kernels_triton import spline_weight
from colocam.kernels.launch import WINDOW
from colocam.kernels.points_triton import (
    add_to_rows,
    flag_invalid,
    group_of,
    inverse_of,
    is_invalid,
    pixel_position,
    read_points,
    read_values,
    to_fixed,
)


@triton.jit
def cell_of(
    image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
    SIDE: tl.constexpr, CELLS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Points with 8-bit colours → group, cell in the group, level in the cell, mask of the pass."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = pixel_position(point, plane, width)
    number, in_pass = group_of(group, frame, point, points, first, last)
    colors = read_points(image, frame, y, x, in_pass, stride_f, stride_c, stride_y, stride_x, 3)
    cell = tl.zeros_like(point)
    level = tl.zeros_like(point)
    for axis in tl.static_range(3):
        color = colors[axis].to(tl.int32)
        along = color // SIDE
        cell = cell * CELLS + along
        level = level * SIDE + (color - along * SIDE)
    return number, cell, level, in_pass


@triton.jit(do_not_specialize=WINDOW)
def mark_cells(
    image, group, row_of, invalid_groups, points, plane, width,
    stride_f, stride_c, stride_y, stride_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """row_of[group - start, cell] = 1 where a cell has a pixel."""
    number, cell, _, in_pass = cell_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
        SIDE, CELLS, BLOCK,
    )  # fmt: skip
    active = flag_invalid(invalid_groups, number, num_groups, in_pass, in_pass)
    tl.store(row_of + (number - start) * (CELLS * CELLS * CELLS) + cell, 1, mask=active)


@triton.jit
def number_cells(row_of, cell_list, counter, cells, BLOCK: tl.constexpr):
    """Replaces the marks in row_of by table rows, in any order; cell_list[row] is the cell."""
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    flags = tl.load(row_of + cell, mask=cell < cells, other=0)
    total = tl.sum(flags, axis=0)
    if total > 0:
        row = tl.atomic_add(counter, total, sem="relaxed") + tl.cumsum(flags, axis=0) - 1
        tl.store(row_of + cell, row, mask=flags > 0)
        tl.store(cell_list + row, cell, mask=flags > 0)


@triton.jit
def clear_rows(table, counter, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """table (rows, WIDTH) int64 = 0 in the rows in use."""
    count = tl.load(counter).to(tl.int64) * WIDTH
    stride = tl.num_programs(0).to(tl.int64) * BLOCK
    start = tl.program_id(0).to(tl.int64) * BLOCK
    while start < count:
        at = start + tl.arange(0, BLOCK)
        tl.store(table + at, tl.zeros((BLOCK,), tl.int64), mask=at < count)
        start += stride


@triton.jit(do_not_specialize=WINDOW)
def sum_levels(
    image, group, maps, row_of, table, invalid_groups, units, bound, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, maps_f, maps_c, maps_y, maps_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, MAPS: tl.constexpr, PADDED: tl.constexpr,
    STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """table[row, level, map] += the values of the map."""
    number, cell, level, in_pass = cell_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
        SIDE, CELLS, BLOCK,
    )  # fmt: skip
    active = in_pass & (number >= 0) & (number < num_groups)
    if tl.max(active.to(tl.int32)) > 0:
        at = row_of + (number - start) * (CELLS * CELLS * CELLS) + cell
        row_level = tl.load(at, mask=active, other=0) * (SIDE * SIDE * SIDE) + level
        point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        frame, y, x = pixel_position(point, plane, width)
        values, active = read_values(
            maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, invalid_groups, number,
            units, bound, MAPS,
        )  # fmt: skip
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.zeros((BLOCK, PADDED), tl.float32)
        for c in tl.static_range(MAPS):
            tile = tl.where(column == c, values[c][:, None], tile)
        add_to_rows(table, row_level, tile, active, MAPS, STRIP, BLOCK, PADDED)


@triton.jit
def cell_weights(level, tap, SIDE: tl.constexpr):
    """Weights from the levels of a cell to its nodes: the product over the three axes."""
    a, b, c = level // (SIDE * SIDE), level // SIDE % SIDE, level % SIDE
    i, j, k = tap // 9, tap // 3 % 3, tap % 3
    weight = spline_weight(a.to(tl.float32) / SIDE, i)
    weight *= spline_weight(b.to(tl.float32) / SIDE, j)
    weight *= spline_weight(c.to(tl.float32) / SIDE, k)
    return tl.where((level < SIDE * SIDE * SIDE) & (tap < 27), weight, 0.0)


@triton.jit
def first_node(cell, CELLS: tl.constexpr, NODES: tl.constexpr):
    """Index of a cell's first node in the flat grid of all groups."""
    k = cell % CELLS
    j = cell // CELLS % CELLS
    i = cell // (CELLS * CELLS) % CELLS
    group = cell // (CELLS * CELLS * CELLS)
    return ((group.to(tl.int64) * NODES + i) * NODES + j) * NODES + k


@triton.jit
def cells_to_nodes(
    table, cell_list, counter, nodes, map_stride,
    SIDE: tl.constexpr, CELLS: tl.constexpr, NODES: tl.constexpr, MAPS: tl.constexpr,
    LEVEL_BLOCK: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """nodes[map, group, i, j, k] += weights · table[row, level, map], both int64, fixed point."""
    VOLUME: tl.constexpr = SIDE * SIDE * SIDE
    count = tl.load(counter)
    tap = tl.arange(0, TAPS)
    offset = (tap // 9 * NODES + tap // 3 % 3) * NODES + tap % 3
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        cell = tl.load(cell_list + row, mask=active, other=0)
        at = first_node(cell, CELLS, NODES)[:, None] + offset[None, :]
        for c in tl.static_range(MAPS):
            total = tl.zeros((BLOCK, TAPS), tl.float32)
            for begin in range(0, VOLUME, LEVEL_BLOCK):
                level = begin + tl.arange(0, LEVEL_BLOCK)
                sums = tl.load(
                    table + (row.to(tl.int64)[:, None] * VOLUME + level[None, :]) * MAPS + c,
                    mask=active[:, None] & (level < VOLUME)[None, :],
                    other=0,
                )
                weights = cell_weights(level[:, None], tap[None, :], SIDE)
                total = tl.dot(sums.to(tl.float32), weights, total, input_precision="ieee")
            wanted = active[:, None] & (tap < 27)[None, :]
            fixed = to_fixed(total)
            tl.atomic_add(nodes + c * map_stride + at, fixed, mask=wanted, sem="relaxed")
        start += tl.num_programs(0) * BLOCK


@triton.jit
def nodes_to_cells(
    table, cell_list, counter, nodes, map_stride,
    SIDE: tl.constexpr, CELLS: tl.constexpr, NODES: tl.constexpr, MAPS: tl.constexpr,
    LEVEL_BLOCK: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """table[row, level, map] = weights · nodes.

    table is the memory of the int64 sums, viewed as float32: rows have twice the length.
    """
    VOLUME: tl.constexpr = SIDE * SIDE * SIDE
    count = tl.load(counter)
    tap = tl.arange(0, TAPS)
    offset = (tap // 9 * NODES + tap // 3 % 3) * NODES + tap % 3
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        cell = tl.load(cell_list + row, mask=active, other=0)
        at = first_node(cell, CELLS, NODES)[:, None] + offset[None, :]
        wanted = active[:, None] & (tap < 27)[None, :]
        for c in tl.static_range(MAPS):
            read = tl.load(nodes + c * map_stride + at, mask=wanted, other=0.0)
            for begin in range(0, VOLUME, LEVEL_BLOCK):
                level = begin + tl.arange(0, LEVEL_BLOCK)
                weights = cell_weights(level[None, :], tap[:, None], SIDE)
                out = tl.dot(read, weights, input_precision="ieee")
                tl.store(
                    table + (row.to(tl.int64)[:, None] * (2 * VOLUME) + level[None, :]) * MAPS + c,
                    out,
                    mask=active[:, None] & (level < VOLUME)[None, :],
                )
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=WINDOW)
def read_levels(
    image, group, table, row_of, invalid_groups, units, out, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, out_f, out_c, out_p,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, MAPS: tl.constexpr, PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = table[row, level, map]; NaN for points of invalid groups."""
    number, cell, level, in_pass = cell_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
        SIDE, CELLS, BLOCK,
    )  # fmt: skip
    if tl.max(in_pass.to(tl.int32)) > 0:
        active = in_pass & (number >= 0) & (number < num_groups)
        at = row_of + (number - start) * (CELLS * CELLS * CELLS) + cell
        row = tl.load(at, mask=active, other=0).to(tl.int64)
        invalid = is_invalid(invalid_groups, number, num_groups, in_pass)
        point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        frame, _, _ = pixel_position(point, plane, width)
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.load(
            table + (row * (2 * SIDE * SIDE * SIDE) + level)[:, None] * MAPS + column,
            mask=active[:, None] & (column < MAPS),
            other=0.0,
        )
        inverse = inverse_of(tl.load(units + column, mask=column < MAPS, other=1.0))
        tile = tl.where(invalid[:, None], float("nan"), tile * inverse)
        at_out = out + frame * out_f + (point - frame * plane) * out_p
        tl.store(at_out[:, None] + column * out_c, tile, mask=in_pass[:, None] & (column < MAPS))
