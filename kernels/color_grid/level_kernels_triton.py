"""Kernels of the colour grid for 8-bit colours (`LevelGrid` in `grid_triton.py` launches them).

A pixel contributes to 27 nodes, but many pixels share a colour, and a cell has few of its colours.
Pixels of equal colour are summed first, one atomic addition per map instead of 27, and the sums of
whole cells are splatted by a small matrix product:

1. `mark_levels`: marks the colours that occur, a bit each. `number_levels`: numbers them, cell by
   cell; the number of a colour is that of the first one in its word plus the marks before it.
2. `clear_sums`, `sum_levels`: sums pixels per colour (int64, fixed point).
3. `cells_to_nodes`: sums times spline weights, onto the nodes.
4. The blur (`blur_triton.py`).
5. `nodes_to_cells`, `read_levels`: the transpose of 3 and 2.

`energy_of_nodes` computes the energy between 4 and 5: splat and slice are the transposes of each
other, so that S^T W S is the sum over the nodes of S's sums times their blur. No pixel is read for
it, and step 5 can wait for the backward pass, where it writes the gradient.

A "level" is the index of a colour within its cell, 0...SIDE^3-1; its mark is a bit of one of the
cell's WORDS words. words: (groups, cells, WORDS, 2) int32, the marks, and the number of the first
colour in the word. counters: (2,) int32, the number of occupied cells and of colours, which stay on
the device; kernels over lists loop up to them.

A table with a row per level of the occupied cells would be nine tenths zeros where a group has few
frames. Where it has many, one colour may have 100 000 pixels (a white sky), whose additions to one
address would wait for each other: a colour has COPIES rows, one for every COPIES-th program.
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
def mark_of(
    image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last, start,
    SIDE: tl.constexpr, CELLS: tl.constexpr, WORDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Points with 8-bit colours → group, word of their mark, the mark in it, mask of the pass."""
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
    word = ((number - start) * (CELLS * CELLS * CELLS) + cell) * WORDS + level // 32
    return number, word, tl.full(level.shape, 1, tl.int32) << (level % 32), in_pass


@triton.jit
def popcount(word):
    """Number of bits set in int32."""
    x = word.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit(do_not_specialize=WINDOW)
def mark_levels(
    image, group, words, invalid_groups, points, plane, width,
    stride_f, stride_c, stride_y, stride_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, WORDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sets the marks of the colours of all points."""
    number, word, mark, in_pass = mark_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, SIDE, CELLS, WORDS, BLOCK,
    )  # fmt: skip
    active = flag_invalid(invalid_groups, number, num_groups, in_pass, in_pass)
    # a stale word is harmless: the mark is set once more
    held = tl.load(words + 2 * word, mask=active, other=0, cache_modifier=".cg")
    tl.atomic_or(words + 2 * word, mark, mask=active & ((held & mark) == 0), sem="relaxed")


@triton.jit
def number_levels(words, cell_list, counters, cells, WORDS: tl.constexpr, BLOCK: tl.constexpr):
    """Numbers the colours, cells in any order, and lists the occupied cells."""
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = cell.to(tl.int64)[:, None] * WORDS + tl.arange(0, WORDS)[None, :]
    counts = popcount(tl.load(words + 2 * at, mask=(cell < cells)[:, None], other=0))
    in_cell = tl.sum(counts, axis=1)
    total = tl.sum(in_cell, axis=0)
    if total > 0:
        occupied = (in_cell > 0).to(tl.int32)
        row = tl.atomic_add(counters, tl.sum(occupied, axis=0), sem="relaxed")
        tl.store(cell_list + row + tl.cumsum(occupied, axis=0) - 1, cell, mask=occupied > 0)
        begin = tl.atomic_add(counters + 1, total, sem="relaxed")
        begin += tl.cumsum(in_cell, axis=0) - in_cell
        first = begin[:, None] + tl.cumsum(counts, axis=1) - counts
        tl.store(words + 2 * at + 1, first, mask=(occupied > 0)[:, None])


@triton.jit
def clear_sums(table, counters, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """table (colours, WIDTH) int64 = 0 for the colours in use."""
    count = tl.load(counters + 1).to(tl.int64) * WIDTH
    stride = tl.num_programs(0).to(tl.int64) * BLOCK
    start = tl.program_id(0).to(tl.int64) * BLOCK
    while start < count:
        at = start + tl.arange(0, BLOCK)
        tl.store(table + at, tl.zeros((BLOCK,), tl.int64), mask=at < count)
        start += stride


@triton.jit(do_not_specialize=WINDOW)
def sum_levels(
    image, group, maps, words, color_of, table, invalid_groups, units, bound,
    points, plane, width, stride_f, stride_c, stride_y, stride_x, maps_f, maps_c, maps_y, maps_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, WORDS: tl.constexpr, COPIES: tl.constexpr,
    MAPS: tl.constexpr, PADDED: tl.constexpr, STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """table[colour, copy, map] += values of the map; color_of (points,) = number of the colour."""
    number, word, mark, in_pass = mark_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, SIDE, CELLS, WORDS, BLOCK,
    )  # fmt: skip
    active = in_pass & (number >= 0) & (number < num_groups)
    if tl.max(in_pass.to(tl.int32)) > 0:
        before = popcount(tl.load(words + 2 * word, mask=active, other=0) & (mark - 1))
        color = tl.load(words + 2 * word + 1, mask=active, other=0) + before
        point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(color_of + point, tl.where(active, color, -1), mask=in_pass)
        frame, y, x = pixel_position(point, plane, width)
        values, active = read_values(
            maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, invalid_groups, number,
            units, bound, MAPS,
        )  # fmt: skip
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.zeros((BLOCK, PADDED), tl.float32)
        for c in tl.static_range(MAPS):
            tile = tl.where(column == c, values[c][:, None], tile)
        row = color * COPIES + tl.program_id(0) % COPIES
        add_to_rows(table, row, tile, active, MAPS, STRIP, BLOCK, PADDED)


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
def nodes_of(cell, map_number, map_stride, tap, CELLS: tl.constexpr, NODES: tl.constexpr):
    """Offsets (cells, taps) of the nodes of cells in the flat grid of all groups."""
    k = cell % CELLS
    j = cell // CELLS % CELLS
    i = cell // (CELLS * CELLS) % CELLS
    group = cell // (CELLS * CELLS * CELLS)
    first = ((group.to(tl.int64) * NODES + i) * NODES + j) * NODES + k + map_number * map_stride
    offset = (tap // 9 * NODES + tap // 3 % 3) * NODES + tap % 3
    return first[:, None] + offset[None, :]


@triton.jit
def colors_of(words, cell, w, active, WORDS: tl.constexpr):
    """Colours of word w of cells: numbers (cells, 32) int64, and the mask of those that occur."""
    at = words + 2 * (cell.to(tl.int64) * WORDS + w)
    marks = tl.load(at, mask=active, other=0)[:, None]
    first = tl.load(at + 1, mask=active, other=0)[:, None]
    mark = tl.full((1, 32), 1, tl.int32) << tl.arange(0, 32)[None, :]
    return (first + popcount(marks & (mark - 1))).to(tl.int64), (marks & mark) != 0


@triton.jit
def cells_to_nodes(
    table, words, cell_list, counters, nodes, map_stride,
    SIDE: tl.constexpr, CELLS: tl.constexpr, WORDS: tl.constexpr, NODES: tl.constexpr,
    COPIES: tl.constexpr, MAPS: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """nodes[map, group, i, j, k] += weights · table[colour, copy, map], int64 in fixed point.

    A row is a map of a cell.
    """
    count = tl.load(counters) * MAPS
    tap = tl.arange(0, TAPS)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        cell = tl.load(cell_list + row // MAPS, mask=active, other=0)
        total = tl.zeros((BLOCK, TAPS), tl.float32)
        for w in range(0, (SIDE * SIDE * SIDE + 31) // 32):
            color, occurs = colors_of(words, cell, w, active, WORDS)
            at = table + color * (COPIES * MAPS) + (row % MAPS)[:, None]
            sums = tl.load(at, mask=occurs, other=0)
            for copy in tl.static_range(1, COPIES):
                sums += tl.load(at + copy * MAPS, mask=occurs, other=0)
            weights = cell_weights(w * 32 + tl.arange(0, 32)[:, None], tap[None, :], SIDE)
            total = tl.dot(sums.to(tl.float32), weights, total, input_precision="ieee")
        at_nodes = nodes + nodes_of(cell, row % MAPS, map_stride, tap, CELLS, NODES)
        wanted = active[:, None] & (tap < 27)[None, :]
        tl.atomic_add(at_nodes, to_fixed(total), mask=wanted, sem="relaxed")
        start += tl.num_programs(0) * BLOCK


@triton.jit
def nodes_to_cells(
    table, words, cell_list, counters, nodes, map_stride,
    SIDE: tl.constexpr, CELLS: tl.constexpr, WORDS: tl.constexpr, NODES: tl.constexpr,
    MAPS: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """table[colour, map] = weights · nodes.

    table is the memory of the int64 sums, viewed as float32.
    """
    count = tl.load(counters) * MAPS
    tap = tl.arange(0, TAPS)
    start = tl.program_id(0) * BLOCK
    while start < count:
        row = start + tl.arange(0, BLOCK)
        active = row < count
        cell = tl.load(cell_list + row // MAPS, mask=active, other=0)
        at_nodes = nodes + nodes_of(cell, row % MAPS, map_stride, tap, CELLS, NODES)
        read = tl.load(at_nodes, mask=active[:, None] & (tap < 27)[None, :], other=0.0)
        for w in range(0, (SIDE * SIDE * SIDE + 31) // 32):
            color, occurs = colors_of(words, cell, w, active, WORDS)
            weights = cell_weights(w * 32 + tl.arange(0, 32)[None, :], tap[:, None], SIDE)
            out = tl.dot(read, weights, input_precision="ieee")
            tl.store(table + color * MAPS + (row % MAPS)[:, None], out, mask=occurs)
        start += tl.num_programs(0) * BLOCK


@triton.jit(do_not_specialize=WINDOW)
def read_levels(
    group, table, color_of, invalid_groups, factors, scale, out,
    points, plane, width, out_f, out_c, out_p, first: tl.int64, last: tl.int64, num_groups,
    BY_GROUP: tl.constexpr, OTHER: tl.constexpr,
    MAPS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = factor · table[colour, map]; NaN for points of invalid groups.

    The factor is scale divided by factors[map], a power of two, or BY_GROUP scale · factors[group].
    With OTHER, of two maps, each reads the other one.
    """
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, _, _ = pixel_position(point, plane, width)
    number, in_pass = group_of(group, frame, point, points, first, last)
    if tl.max(in_pass.to(tl.int32)) > 0:
        color = tl.load(color_of + point, mask=in_pass, other=-1)
        invalid = is_invalid(invalid_groups, number, num_groups, in_pass)
        column = tl.arange(0, PADDED)[None, :]
        read = MAPS - 1 - column if OTHER else column
        tile = tl.load(
            table + color.to(tl.int64)[:, None] * MAPS + read,
            mask=(color >= 0)[:, None] & (column < MAPS),
            other=0.0,
        )
        if BY_GROUP:
            factor = tl.load(factors + number, mask=color >= 0, other=0.0)[:, None]
        else:
            factor = inverse_of(tl.load(factors + column, mask=column < MAPS, other=1.0))
        tile = tl.where(invalid[:, None], float("nan"), tile * (scale * factor))
        at_out = out + frame * out_f + (point - frame * plane) * out_p
        tl.store(at_out[:, None] + column * out_c, tile, mask=in_pass[:, None] & (column < MAPS))


@triton.jit
def energy_of_nodes(
    sums, blurred, invalid_groups, parts, nodes, map_stride, num_groups, scale,
    OTHER: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """parts[group, program] = scale · sum over nodes and maps of sums · blurred; NaN if invalid.

    sums (MAPS, groups, nodes) int64, blurred float32; with OTHER, of two maps, the blurred map is
    the other one. program_id(1): the group.
    """
    group = tl.program_id(1)
    node = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = group.to(tl.int64) * nodes + node
    total = tl.zeros((BLOCK,), tl.float64)
    for c in tl.static_range(MAPS):
        other = MAPS - 1 - c if OTHER else c
        value = tl.load(sums + c * map_stride + at, mask=node < nodes, other=0)
        around = tl.load(blurred + other * map_stride + at, mask=node < nodes, other=0.0)
        total += value.to(tl.float64) * around.to(tl.float64)
    invalid = (tl.load(invalid_groups + group) + tl.load(invalid_groups + num_groups)) > 0
    part = tl.where(invalid, float("nan"), scale * tl.sum(total, axis=0))
    tl.store(parts + group * tl.num_programs(0) + tl.program_id(0), part)


@triton.jit
def sum_of_groups(parts, energy, count, BLOCK: tl.constexpr):
    """energy[group] = the sum of the group's parts (groups, count), in a fixed order."""
    group = tl.program_id(0)
    total = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, count, BLOCK):
        part = start + tl.arange(0, BLOCK)
        total += tl.load(parts + group * count + part, mask=part < count, other=0.0)
    tl.store(energy + group, tl.sum(total, axis=0).to(tl.float32))
