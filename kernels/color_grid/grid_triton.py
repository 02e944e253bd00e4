"""The Gaussian filter on three colour channels by a grid (`color_grid`), as Triton kernels.

The numbers are those of the torch twin (`color_grid_torch`), which is the text to read first.
Here everything stays on the device, and nothing waits for the host.

8-bit colours, with cells of several levels (`LevelGrid`): a pixel touches 27 nodes, but its level
within its cell is one of few. So pixels of equal colour are summed first, one addition a map
instead of 27, and whole cells are splatted:

1. `mark_cells`: which cells hold a pixel; `number_cells`: a row of the table for each of them.
   Natural frames fill few, so that the rows that are in use stay in the cache.
2. `clear_rows`, `sum_levels`: pixels onto the levels of their cells (float64).
3. `cells_to_nodes`: levels times spline weights, a small matrix product, onto the nodes.
4. `blur_axis`, three times.
5. `nodes_to_cells`, `read_levels`: the way back.

Other colours (`ColorGrid`): `splat_colors` onto the nodes one by one, `blur_axis`, `slice_colors`.
"""

import functools
import math
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from colocam.kernels.color_grid.geometry import (
    LEVELS,
    Spacing,
    fit_blur,
    nodes_for_features,
    spacing_for_colors,
    spacing_for_levels,
)
from colocam.kernels.launch import (
    WINDOW,
    Points,
    Window,
    block,
    ceil_div,
    filter_in_passes,
    workers,
)
from colocam.kernels.points_triton import (
    add_to_rows,
    group_of,
    is_bad,
    mark_bad,
    place_of,
    read_points,
)

BLOCK = block(256)  # points a program
STRIP = 16  # neighbouring points that are summed before they meet others
CHANNELS = 2  # maps that are filtered at once
CELL_BLOCK = block(1024)  # cells a program numbers
ROW_BLOCK = block(16)  # cells a program multiplies at a time: the least a matrix product takes
LEVEL_BLOCK = 32  # levels of a cell that are multiplied at a time
BLUR_LINES = block(64)  # lines of nodes a program blurs
UNBOUNDED = 1e9  # features beyond it are not finite, or would overflow
TAPS = 32  # 27 nodes of a cell, up to the next power of two


@triton.jit
def cell_of(
    image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
    SIDE: tl.constexpr, CELLS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Points with 8-bit colours → group, cell in the group, level in the cell, which are mine."""
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = place_of(point, plane, width)
    number, mine = group_of(group, frame, point, points, first, last)
    colors = read_points(image, frame, y, x, mine, stride_f, stride_c, stride_y, stride_x, 3)
    cell = tl.zeros_like(point)
    level = tl.zeros_like(point)
    for axis in tl.static_range(3):
        color = colors[axis].to(tl.int32)
        along = color // SIDE
        cell = cell * CELLS + along
        level = level * SIDE + (color - along * SIDE)
    return number, cell, level, mine


@triton.jit(do_not_specialize=WINDOW)
def mark_cells(
    image, group, row_of, bad, points, plane, width, stride_f, stride_c, stride_y, stride_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """row_of[group - start, cell] = 1 where there is a pixel."""
    number, cell, _, mine = cell_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
        SIDE, CELLS, BLOCK,
    )  # fmt: skip
    active = mark_bad(bad, number, num_groups, mine, mine)
    tl.store(row_of + (number - start) * (CELLS * CELLS * CELLS) + cell, 1, mask=active)


@triton.jit
def number_cells(row_of, cell_list, counter, cells, BLOCK: tl.constexpr):
    """Marked cells get a row, in any order; cell_list[row] is the cell."""
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    flags = tl.load(row_of + cell, mask=cell < cells, other=0)
    total = tl.sum(flags, axis=0)
    if total > 0:
        row = tl.atomic_add(counter, total, sem="relaxed") + tl.cumsum(flags, axis=0) - 1
        tl.store(row_of + cell, row, mask=flags > 0)
        tl.store(cell_list + row, cell, mask=flags > 0)


@triton.jit
def clear_rows(table, counter, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """table (rows, WIDTH) float64 = 0 in the rows that are in use."""
    count = tl.load(counter).to(tl.int64) * WIDTH
    stride = tl.num_programs(0).to(tl.int64) * BLOCK
    start = tl.program_id(0).to(tl.int64) * BLOCK
    while start < count:
        at = start + tl.arange(0, BLOCK)
        tl.store(table + at, tl.zeros((BLOCK,), tl.float64), mask=at < count)
        start += stride


@triton.jit(do_not_specialize=WINDOW)
def sum_levels(
    image, group, maps, row_of, table, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, maps_f, maps_c, maps_y, maps_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, MAPS: tl.constexpr, PADDED: tl.constexpr,
    STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """table[row, level, map] += the map."""
    number, cell, level, mine = cell_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
        SIDE, CELLS, BLOCK,
    )  # fmt: skip
    active = mine & (number >= 0) & (number < num_groups)
    if tl.max(active.to(tl.int32)) > 0:
        at = row_of + (number - start) * (CELLS * CELLS * CELLS) + cell
        place = tl.load(at, mask=active, other=0) * (SIDE * SIDE * SIDE) + level
        point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        frame, y, x = place_of(point, plane, width)
        values = read_points(maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, MAPS)
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.zeros((BLOCK, PADDED), tl.float32)
        for c in tl.static_range(MAPS):
            tile = tl.where(column == c, values[c][:, None], tile)
        add_to_rows(table, place, tile, active, MAPS, STRIP, BLOCK, PADDED)


@triton.jit
def spline_weight(t, tap):
    """`color_grid.spline_weights` of degree 2."""
    ends = tl.where(tap == 0, 0.5 * (1 - t) * (1 - t), 0.5 * t * t)
    return tl.where(tap == 1, 0.5 + t - t * t, ends)


@triton.jit
def cell_weights(level, tap, SIDE: tl.constexpr):
    """Weight from levels of a cell to its nodes, for the product of the three axes."""
    a, b, c = level // (SIDE * SIDE), level // SIDE % SIDE, level % SIDE
    i, j, k = tap // 9, tap // 3 % 3, tap % 3
    weight = spline_weight(a.to(tl.float32) / SIDE, i)
    weight *= spline_weight(b.to(tl.float32) / SIDE, j)
    weight *= spline_weight(c.to(tl.float32) / SIDE, k)
    return tl.where((level < SIDE * SIDE * SIDE) & (tap < 27), weight, 0.0)


@triton.jit
def first_node(cell, CELLS: tl.constexpr, NODES: tl.constexpr):
    """Place of a cell's first node in the flat grid of all groups."""
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
    """nodes[map, group, i, j, k] += weights times table[row, level, map]."""
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
                    other=0.0,
                )
                weights = cell_weights(level[:, None], tap[None, :], SIDE)
                total = tl.dot(sums.to(tl.float32), weights, total, input_precision="ieee")
            wanted = active[:, None] & (tap < 27)[None, :]
            tl.atomic_add(nodes + c * map_stride + at, total, mask=wanted, sem="relaxed")
        start += tl.num_programs(0) * BLOCK


@triton.jit
def nodes_to_cells(
    table, cell_list, counter, nodes, map_stride,
    SIDE: tl.constexpr, CELLS: tl.constexpr, NODES: tl.constexpr, MAPS: tl.constexpr,
    LEVEL_BLOCK: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """table[row, level, map] = weights times nodes; table is the sums' memory, read as float32."""
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
    image, group, table, row_of, bad, out, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, out_f, out_c, out_p,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    SIDE: tl.constexpr, CELLS: tl.constexpr, MAPS: tl.constexpr, PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = table[row, level, map]; NaN where bad."""
    number, cell, level, mine = cell_of(
        image, group, points, plane, width, stride_f, stride_c, stride_y, stride_x, first, last,
        SIDE, CELLS, BLOCK,
    )  # fmt: skip
    if tl.max(mine.to(tl.int32)) > 0:
        active = mine & (number >= 0) & (number < num_groups)
        at = row_of + (number - start) * (CELLS * CELLS * CELLS) + cell
        row = tl.load(at, mask=active, other=0).to(tl.int64)
        spoilt = is_bad(bad, number, num_groups, mine)
        point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        frame, _, _ = place_of(point, plane, width)
        column = tl.arange(0, PADDED)[None, :]
        tile = tl.load(
            table + (row * (2 * SIDE * SIDE * SIDE) + level)[:, None] * MAPS + column,
            mask=active[:, None] & (column < MAPS),
            other=0.0,
        )
        tile = tl.where(spoilt[:, None], float("nan"), tile)
        at_out = out + frame * out_f + (point - frame * plane) * out_p
        tl.store(at_out[:, None] + column * out_c, tile, mask=mine[:, None] & (column < MAPS))


@triton.jit
def blur_axis(
    source, target, blur, lines, inner,
    NODES: tl.constexpr, PADDED: tl.constexpr, TILE: tl.constexpr, STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """target = blur along one axis of source (outer, NODES, inner); blur (NODES,) by distance."""
    line = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    outer = line // inner
    base = outer.to(tl.int64) * (inner * NODES) + (line - outer * inner)
    to = tl.program_id(1) * TILE + tl.arange(0, TILE)
    total = tl.zeros((BLOCK, TILE), tl.float32)
    for begin in range(0, PADDED, STEP):
        node = begin + tl.arange(0, STEP)
        values = tl.load(
            source + base[:, None] + node[None, :] * inner,
            mask=(line < lines)[:, None] & (node < NODES)[None, :],
            other=0.0,
        ).to(tl.float32)
        distance = tl.abs(node[:, None] - to[None, :])
        weights = tl.load(blur + distance, mask=distance < NODES, other=0.0)
        total = tl.dot(values, weights, total, input_precision="ieee")
    tl.store(
        target + base[:, None] + to[None, :] * inner,
        total,
        mask=(line < lines)[:, None] & (to < NODES)[None, :],
    )


@triton.jit
def place_in_grid(
    source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
    first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most,
    DEGREE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Points → group, first node in the flat grid, places in the cell, which are mine and sound."""
    lows = (low0, low1, low2)
    sizes = (n0, n1, n2)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = place_of(point, plane, width)
    number, mine = group_of(group, frame, point, points, first, last)
    colors = read_points(source, frame, y, x, mine, stride_f, stride_c, stride_y, stride_x, 3)
    sound = mine
    node = number - start
    places = ()
    for axis in tl.static_range(3):
        sound = sound & (colors[axis] >= least) & (colors[axis] <= most)
        scaled = tl.where(sound, colors[axis], 0.0) * per_step
        cell = tl.floor(scaled)
        along = cell.to(tl.int32) - lows[axis]
        sound = sound & (along >= 0) & (along < sizes[axis] - DEGREE)
        node = node * sizes[axis] + along
        places = places + (scaled - cell,)
    return point, number, node, places, mine, sound


@triton.jit(do_not_specialize=WINDOW)
def splat_colors(
    source, group, maps, nodes, bad, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, maps_f, maps_c, maps_y, maps_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    n0, n1, n2, low0, low1, low2, per_step, least, most, map_stride,
    DEGREE: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """nodes[map, group, i, j, k] += spline weights times the map; nodes float64."""
    point, number, node, places, mine, sound = place_in_grid(
        source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most, DEGREE, BLOCK,
    )  # fmt: skip
    if tl.max(mine.to(tl.int32)) > 0:
        active = mark_bad(bad, number, num_groups, mine, sound)
        frame, y, x = place_of(point, plane, width)
        values = read_points(maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, MAPS)
        for i in tl.static_range(DEGREE + 1):
            for j in tl.static_range(DEGREE + 1):
                for k in tl.static_range(DEGREE + 1):
                    at = nodes + node + (i * n1 + j) * n2 + k
                    for c in tl.static_range(MAPS):
                        value = values[c]
                        if DEGREE > 0:
                            value *= spline_weight(places[0], i)
                            value *= spline_weight(places[1], j)
                            value *= spline_weight(places[2], k)
                        tl.atomic_add(
                            at + c * map_stride, value.to(tl.float64), mask=active, sem="relaxed"
                        )


@triton.jit(do_not_specialize=WINDOW)
def slice_colors(
    source, group, nodes, bad, out, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, out_f, out_c, out_p,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    n0, n1, n2, low0, low1, low2, per_step, least, most, map_stride,
    DEGREE: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = spline weights times nodes; NaN where bad."""
    point, number, node, places, mine, sound = place_in_grid(
        source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most, DEGREE, BLOCK,
    )  # fmt: skip
    if tl.max(mine.to(tl.int32)) > 0:
        active = sound & (number >= 0) & (number < num_groups)
        spoilt = is_bad(bad, number, num_groups, mine)
        frame, _, _ = place_of(point, plane, width)
        at_out = out + frame * out_f + (point - frame * plane) * out_p
        for c in tl.static_range(MAPS):
            total = tl.zeros((BLOCK,), tl.float32)
            for i in tl.static_range(DEGREE + 1):
                for j in tl.static_range(DEGREE + 1):
                    for k in tl.static_range(DEGREE + 1):
                        at = nodes + c * map_stride + node + (i * n1 + j) * n2 + k
                        value = tl.load(at, mask=active, other=0.0)
                        if DEGREE > 0:
                            value *= spline_weight(places[0], i)
                            value *= spline_weight(places[1], j)
                            value *= spline_weight(places[2], k)
                        total += value
            tl.store(at_out + c * out_c, tl.where(spoilt, float("nan"), total), mask=mine)


def blur_nodes(nodes: Tensor, sigma: float, spacing: Spacing) -> Tensor:
    """Blur along the three axes: nodes (N, n0, n1, n2) float32 or float64 → float32, same shape."""
    shape = nodes.shape
    spare = [torch.empty(shape, dtype=torch.float32, device=nodes.device) for _ in range(2)]
    inner = nodes[0].numel()
    for axis, size in enumerate(shape[1:]):
        inner //= size
        lines = nodes.numel() // size
        padded = max(16, triton.next_power_of_2(size))
        tile = min(padded, 64)
        target = spare[axis % 2]
        blur_axis[ceil_div(lines, BLUR_LINES), padded // tile](
            nodes, target, blur_by_distance(sigma, spacing, size, nodes.device), lines, inner,
            NODES=size, PADDED=padded, TILE=tile, STEP=16, BLOCK=BLUR_LINES, num_warps=8,
        )  # fmt: skip
        nodes = target
    return nodes


@functools.lru_cache(maxsize=64)
def blur_by_distance(sigma: float, spacing: Spacing, size: int, device: torch.device) -> Tensor:
    """`fit_blur` for the distances 0...size-1, (size,) float32."""
    blur = torch.zeros(size, dtype=torch.float32)
    fitted = fit_blur(sigma, spacing)[:size]
    blur[: len(fitted)] = fitted
    return blur.to(device)


class LevelGrid:
    """The filter for 8-bit colours in cells of several levels."""

    def __init__(self, points: Points, sigma: float, spacing: Spacing) -> None:
        self.points, self.sigma, self.spacing = points, sigma, spacing
        self.side = int(spacing.step)
        self.cells = ceil_div(LEVELS, self.side)
        self.nodes = self.cells + spacing.degree
        self.static = {"SIDE": self.side, "CELLS": self.cells}

    def rows(self, groups: int) -> int:
        """Rows that the table needs: never more cells in use than there are, or than pixels."""
        return min(self.points.count, groups * self.cells**3)

    def apply(self, maps: Tensor, limit: int | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous."""

        def scratch(groups: int, maps: int) -> int:
            table = self.rows(groups) * (8 * maps * self.side**3 + 4)
            return table + groups * (4 * self.cells**3 + 8 * maps * self.nodes**3)

        return filter_in_passes(self.points, maps, CHANNELS, scratch, self._prepare, limit)

    def _where(self, window: Window) -> tuple:
        points = self.points
        return (
            (points.count, *points.plane, *points.tensor.stride()),
            (window.first, window.last, window.start, points.num_groups),
        )

    def _prepare(self, window: Window) -> Callable[[Tensor, Tensor], None]:
        device, cells = window.bad.device, window.groups * self.cells**3
        row_of = torch.zeros(cells, dtype=torch.int32, device=device)
        cell_list = torch.empty(self.rows(window.groups), dtype=torch.int32, device=device)
        counter = torch.zeros(1, dtype=torch.int32, device=device)
        where, which = self._where(window)
        mark_cells[(ceil_div(self.points.count, BLOCK),)](
            self.points.tensor, self.points.group, row_of, window.bad, *where, *which,
            **self.static, BLOCK=BLOCK,
        )  # fmt: skip
        number_cells[(ceil_div(cells, CELL_BLOCK),)](
            row_of, cell_list, counter, cells, BLOCK=CELL_BLOCK
        )
        return functools.partial(self._filter, window, row_of, cell_list, counter)

    def _filter(
        self, window: Window, row_of: Tensor, cell_list: Tensor, counter: Tensor,
        maps: Tensor, out: Tensor,
    ) -> None:  # fmt: skip
        """Maps (F, up to CHANNELS, H, W) → out, its planes contiguous."""
        points, count, volume = self.points, maps.shape[1], self.side**3
        where, which = self._where(window)
        blocks, programs = (ceil_div(points.count, BLOCK),), (workers(maps.device),)
        table = torch.empty(len(cell_list), volume * count, dtype=torch.float64, device=maps.device)
        shape = (count, window.groups, self.nodes, self.nodes, self.nodes)
        nodes = torch.zeros(shape, dtype=torch.float32, device=maps.device)
        pixels = {"MAPS": count, "PADDED": triton.next_power_of_2(count), "BLOCK": BLOCK}
        rows = {"NODES": self.nodes, "MAPS": count, "LEVEL_BLOCK": min(LEVEL_BLOCK, max(
            16, triton.next_power_of_2(volume))), "TAPS": TAPS, "BLOCK": ROW_BLOCK}  # fmt: skip
        clear_rows[programs](table, counter, WIDTH=volume * count, BLOCK=CELL_BLOCK)
        sum_levels[blocks](
            points.tensor, points.group, maps, row_of, table, *where, *maps.stride(), *which,
            **self.static, **pixels, STRIP=STRIP,
        )  # fmt: skip
        cells_to_nodes[programs](
            table, cell_list, counter, nodes, nodes.stride(0), **self.static, **rows
        )
        nodes = blur_nodes(nodes.flatten(0, 1), self.sigma, self.spacing).view(shape)
        table = table.view(torch.float32)
        nodes_to_cells[programs](
            table, cell_list, counter, nodes, nodes.stride(0), **self.static, **rows, maxnreg=128
        )
        read_levels[blocks](
            points.tensor, points.group, table, row_of, window.bad, out, *where,
            out.stride(0), out.stride(1), 1, *which, **self.static, **pixels,
        )  # fmt: skip


class NodeGrid:
    """The filter for any colours: every point onto its own nodes."""

    def __init__(
        self,
        points: Points,
        sigma: float,
        spacing: Spacing,
        nodes: tuple[int, int, int],
        first_cell: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """Sigma in the units of the points' colours; nodes along each axis from `first_cell`."""
        self.points, self.sigma, self.spacing = points, sigma, spacing
        self.nodes, self.first_cell = nodes, first_cell

    def apply(self, maps: Tensor, limit: int | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous."""
        sites = math.prod(self.nodes)
        return filter_in_passes(
            self.points, maps, CHANNELS, lambda groups, maps: 16 * groups * maps * sites,
            lambda window: functools.partial(self._filter, window), limit,
        )  # fmt: skip

    def _filter(self, window: Window, maps: Tensor, out: Tensor) -> None:
        points, count = self.points, maps.shape[1]
        shape = (count, window.groups, *self.nodes)
        nodes = torch.zeros(shape, dtype=torch.float64, device=maps.device)
        blocks = (ceil_div(points.count, BLOCK),)
        where = (points.count, *points.plane, *points.tensor.stride())
        least, most = (0.0, 255.0) if points.colors else (-UNBOUNDED, UNBOUNDED)
        which = (
            window.first, window.last, window.start, points.num_groups,
            *self.nodes, *self.first_cell, 1 / self.spacing.step, least, most, nodes.stride(0),
        )  # fmt: skip
        static = {"DEGREE": self.spacing.degree, "MAPS": count, "BLOCK": BLOCK}
        splat_colors[blocks](
            points.tensor, points.group, maps, nodes, window.bad, *where, *maps.stride(), *which,
            **static,
        )  # fmt: skip
        nodes = blur_nodes(nodes.flatten(0, 1), self.sigma, self.spacing)
        slice_colors[blocks](
            points.tensor, points.group, nodes, window.bad, out, *where,
            out.stride(0), out.stride(1), 1, *which, **static,
        )  # fmt: skip


def grid_for_images(points: Points, sigma: float) -> LevelGrid | NodeGrid:
    """The grid for images: by levels where colours are 8-bit and cells have several."""
    whole = points.tensor.dtype == torch.uint8
    spacing = spacing_for_levels(sigma) if whole else spacing_for_colors(sigma)
    if whole and spacing.degree:
        return LevelGrid(points, sigma, spacing)
    return NodeGrid(points, sigma, spacing, (ceil_div(LEVELS, spacing.step) + spacing.degree,) * 3)


def grid_for_features(points: Points) -> NodeGrid:
    """The grid for features in units of sigma. Their range is read, which waits for the device."""
    colors = points.tensor.transpose(0, 1).flatten(1)  # (3, P)
    spacing, nodes, first = nodes_for_features(colors)
    return NodeGrid(points, 1.0, spacing, nodes, first)
