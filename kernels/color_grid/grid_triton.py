"""Gaussian filter of three colour channels on a regular grid: Triton backend.

Computes the same numbers as the PyTorch backend (`grid_torch.py`), which is the version to read
first. All data stays on the device, and nothing synchronizes with the host, except for
`grid_for_features`.

`LevelGrid` filters 8-bit colours in cells of several levels, `NodeGrid` all other colours;
`grid_for_images` and `grid_for_features` choose.
"""

import functools
import math
from collections.abc import Callable

import torch
import triton
from torch import Tensor

from colocam.kernels.color_grid.blur_triton import blur_nodes
from colocam.kernels.color_grid.geometry import (
    LEVELS,
    Spacing,
    nodes_for_features,
    spacing_for_colors,
    spacing_for_levels,
)
from colocam.kernels.color_grid.level_kernels_triton import (
    cells_to_nodes,
    clear_rows,
    mark_cells,
    nodes_to_cells,
    number_cells,
    read_levels,
    sum_levels,
)
from colocam.kernels.color_grid.node_kernels_triton import slice_colors, splat_colors
from colocam.kernels.launch import (
    Points,
    Window,
    block,
    ceil_div,
    filter_in_passes,
    persistent_programs,
)

BLOCK = block(256)  # points per program
STRIP = 16  # neighbouring points that are summed first where they share a row
CHANNELS = 2  # maps filtered at once
CELL_BLOCK = block(1024)  # cells per program of `number_cells`
ROW_BLOCK = block(16)  # cells per matrix product: the least that tl.dot takes
LEVEL_BLOCK = 32  # levels of a cell per matrix product
UNBOUNDED = 1e9  # largest feature: beyond it the cell number would overflow
TAPS = 32  # 27 nodes of a cell, rounded up to a power of two


class LevelGrid:
    """Filter for 8-bit colours in cells of several levels; `apply` filters any maps."""

    def __init__(self, points: Points, sigma: float, spacing: Spacing) -> None:
        self.points, self.sigma, self.spacing = points, sigma, spacing
        self.side = int(spacing.step)
        self.cells = ceil_div(LEVELS, self.side)
        self.nodes = self.cells + spacing.degree
        self.static = {"SIDE": self.side, "CELLS": self.cells}

    def rows(self, groups: int) -> int:
        """Capacity of the table in rows: at most one per cell, and at most one per pixel."""
        return min(self.points.count, groups * self.cells**3)

    def apply(self, maps: Tensor, limit: int | None = None, largest: float | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous.

        See `filter_in_passes` for the arguments.
        """

        def scratch(groups: int, maps: int) -> int:
            table = self.rows(groups) * (8 * maps * self.side**3 + 4)
            return table + groups * (4 * self.cells**3 + 16 * maps * self.nodes**3)

        return filter_in_passes(self.points, maps, CHANNELS, scratch, self._prepare, limit, largest)

    def _arguments(self, window: Window) -> tuple[tuple, tuple]:
        """Layout of the points, and range of groups, as the kernels take them."""
        points = self.points
        return (
            (points.count, *points.plane, *points.tensor.stride()),
            (window.first, window.last, window.start, points.num_groups),
        )

    def _prepare(self, window: Window) -> Callable[[Tensor, Tensor, Tensor], None]:
        device, cells = window.invalid_groups.device, window.groups * self.cells**3
        row_of = torch.zeros(cells, dtype=torch.int32, device=device)
        cell_list = torch.empty(self.rows(window.groups), dtype=torch.int32, device=device)
        counter = torch.zeros(1, dtype=torch.int32, device=device)
        layout, groups = self._arguments(window)
        mark_cells[(ceil_div(self.points.count, BLOCK),)](
            self.points.tensor, self.points.group, row_of, window.invalid_groups, *layout, *groups,
            **self.static, BLOCK=BLOCK,
        )  # fmt: skip
        number_cells[(ceil_div(cells, CELL_BLOCK),)](
            row_of, cell_list, counter, cells, BLOCK=CELL_BLOCK
        )
        return functools.partial(self._filter, window, row_of, cell_list, counter)

    def _filter(
        self, window: Window, row_of: Tensor, cell_list: Tensor, counter: Tensor,
        maps: Tensor, units: Tensor, out: Tensor,
    ) -> None:  # fmt: skip
        """Filter maps (F, up to CHANNELS, H, W) into out, whose planes are contiguous."""
        points, count, volume = self.points, maps.shape[1], self.side**3
        layout, groups = self._arguments(window)
        blocks, programs = (ceil_div(points.count, BLOCK),), (persistent_programs(maps.device),)
        table = torch.empty(len(cell_list), volume * count, dtype=torch.int64, device=maps.device)
        shape = (count, window.groups, self.nodes, self.nodes, self.nodes)
        nodes = torch.zeros(shape, dtype=torch.int64, device=maps.device)
        pixels = {"MAPS": count, "PADDED": triton.next_power_of_2(count), "BLOCK": BLOCK}
        rows = {"NODES": self.nodes, "MAPS": count, "LEVEL_BLOCK": min(LEVEL_BLOCK, max(
            16, triton.next_power_of_2(volume))), "TAPS": TAPS, "BLOCK": ROW_BLOCK}  # fmt: skip
        clear_rows[programs](table, counter, WIDTH=volume * count, BLOCK=CELL_BLOCK)
        sum_levels[blocks](
            points.tensor, points.group, maps, row_of, table, window.invalid_groups, units,
            window.bound, *layout, *maps.stride(), *groups,
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
            points.tensor, points.group, table, row_of, window.invalid_groups, units, out, *layout,
            out.stride(0), out.stride(1), 1, *groups, **self.static, **pixels,
        )  # fmt: skip


class NodeGrid:
    """Filter for any colours, splatted point by point; `apply` filters any maps."""

    def __init__(
        self,
        points: Points,
        sigma: float,
        spacing: Spacing,
        nodes: tuple[int, int, int],
        first_cell: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """Stores the geometry of the grid.

        Args:
            points: whose channels are the colours.
            sigma: in the units of the colours.
            spacing: of the nodes.
            nodes: nodes per axis.
            first_cell: number of the first cell per axis.
        """
        self.points, self.sigma, self.spacing = points, sigma, spacing
        self.nodes, self.first_cell = nodes, first_cell

    def apply(self, maps: Tensor, limit: int | None = None, largest: float | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous.

        See `filter_in_passes` for the arguments.
        """
        sites = math.prod(self.nodes)
        return filter_in_passes(
            self.points, maps, CHANNELS, lambda groups, maps: 16 * groups * maps * sites,
            lambda window: functools.partial(self._filter, window), limit, largest,
        )  # fmt: skip

    def _filter(self, window: Window, maps: Tensor, units: Tensor, out: Tensor) -> None:
        points, count = self.points, maps.shape[1]
        shape = (count, window.groups, *self.nodes)
        nodes = torch.zeros(shape, dtype=torch.int64, device=maps.device)
        blocks = (ceil_div(points.count, BLOCK),)
        layout = (points.count, *points.plane, *points.tensor.stride())
        least, most = (0.0, 255.0) if points.colors else (-UNBOUNDED, UNBOUNDED)
        groups = (
            window.first, window.last, window.start, points.num_groups,
            *self.nodes, *self.first_cell, 1 / self.spacing.step, least, most, nodes.stride(0),
        )  # fmt: skip
        static = {"DEGREE": self.spacing.degree, "MAPS": count, "BLOCK": BLOCK}
        splat_colors[blocks](
            points.tensor, points.group, maps, nodes, window.invalid_groups, units,
            window.bound, *layout, *maps.stride(), *groups, **static,
        )  # fmt: skip
        nodes = blur_nodes(nodes.flatten(0, 1), self.sigma, self.spacing)
        slice_colors[blocks](
            points.tensor, points.group, nodes, window.invalid_groups, units, out, *layout,
            out.stride(0), out.stride(1), 1, *groups, **static,
        )  # fmt: skip


def grid_for_images(points: Points, sigma: float) -> LevelGrid | NodeGrid:
    """Grid for images: `LevelGrid` for uint8 in cells of several levels, else `NodeGrid`."""
    integer = points.tensor.dtype == torch.uint8
    spacing = spacing_for_levels(sigma) if integer else spacing_for_colors(sigma)
    if integer and spacing.degree:
        return LevelGrid(points, sigma, spacing)
    nodes = ceil_div(LEVELS, int(spacing.step)) + spacing.degree
    return NodeGrid(points, sigma, spacing, (nodes, nodes, nodes))


def grid_for_features(points: Points) -> NodeGrid:
    """Grid for features in units of sigma; reads their range, which synchronizes."""
    colors = points.tensor.transpose(0, 1).flatten(1)  # (3, P)
    spacing, nodes, first = nodes_for_features(colors)
    return NodeGrid(points, 1.0, spacing, nodes, first)
