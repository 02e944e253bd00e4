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
from dataclasses import dataclass

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
    clear_sums,
    mark_levels,
    nodes_to_cells,
    number_levels,
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
    zeros,
)

BLOCK = block(256)  # points per program
STRIP = 16  # neighbouring points that are summed first where they share a row
CHANNELS = 2  # maps filtered at once
CLEAR_BLOCK = block(1024)  # sums per program and iteration
WORD_BLOCK = block(2048)  # words of marks per program of `number_levels`
ROW_BLOCK = block(32)  # maps of cells per matrix product
WORD = 32  # marks per word
COPIES = 4  # of a colour's sums, in groups of at least MANY points
MANY = 2**20
UNBOUNDED = 1e9  # largest feature: beyond it the cell number would overflow
TAPS = 32  # 27 nodes of a cell, rounded up to a power of two


class LevelGrid:
    """Filter for 8-bit colours in cells of several levels; `apply` filters any maps."""

    def __init__(self, points: Points, sigma: float, spacing: Spacing) -> None:
        self.points, self.sigma, self.spacing = points, sigma, spacing
        self.side = int(spacing.step)
        self.cells = ceil_div(LEVELS, self.side)
        self.words = triton.next_power_of_2(ceil_div(self.side**3, WORD))  # per cell
        self.nodes = self.cells + spacing.degree
        self.static = {"SIDE": self.side, "CELLS": self.cells, "WORDS": self.words}

    def capacity(self, groups: int) -> tuple[int, int]:
        """Most occupied cells, and most distinct colours: at most one per pixel."""
        cells = groups * self.cells**3
        return min(self.points.count, cells), min(self.points.count, cells * self.side**3)

    def copies(self, groups: int) -> int:
        """Copies of the sums of a colour."""
        return COPIES if self.points.count >= MANY * groups else 1

    def scratch(self, groups: int, maps: int) -> int:
        """Bytes needed for a number of groups and a number of maps."""
        cells, colors = self.capacity(groups)
        words = 4 * self.words_size(groups)
        sums = 8 * maps * self.copies(groups) * colors
        return 4 * cells + sums + words + groups * 16 * maps * self.nodes**3

    def words_size(self, groups: int) -> int:
        """Number of elements of `ColorTable.words`."""
        return 2 * groups * self.cells**3 * self.words

    def apply(self, maps: Tensor, limit: int | None = None, largest: float | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous.

        See `filter_in_passes` for the arguments.
        """

        def prepare(window: Window) -> Callable[[Tensor, Tensor, Tensor], None]:
            return ColorTable.of_pass(self, window).filter

        return filter_in_passes(self.points, maps, CHANNELS, self.scratch, prepare, limit, largest)


@dataclass(frozen=True)
class ColorTable:
    """Colours that occur in the groups of one pass, numbered.

    Attributes:
        grid, window: the filter, and the pass.
        words: (groups · cells · words · 2,) int32: marks, a bit per colour that occurs, and the
            number of the first of them; it is undefined in cells without colours.
        cell_list: int32, the occupied cells.
        counters: (2,) int32, occupied cells and distinct colours.
        color_of: (points,) int32, number of each point's colour, -1 for points of no group.
    """

    grid: LevelGrid
    window: Window
    words: Tensor
    cell_list: Tensor
    counters: Tensor
    color_of: Tensor

    @staticmethod
    def of_pass(grid: LevelGrid, window: Window) -> "ColorTable":
        """The colours of a pass."""
        device = window.invalid_groups.device
        sizes = [2, grid.words_size(window.groups)]
        return ColorTable.in_zeros(grid, window, *zeros(sizes, torch.int32, device))

    @staticmethod
    def in_zeros(grid: LevelGrid, window: Window, counters: Tensor, words: Tensor) -> "ColorTable":
        """The colours of a pass, in tensors that are zero."""
        points, cells = grid.points, window.groups * grid.cells**3
        cell_list, color_of = (
            torch.empty(size, dtype=torch.int32, device=words.device)
            for size in (grid.capacity(window.groups)[0], points.count)
        )
        table = ColorTable(grid, window, words, cell_list, counters, color_of)
        mark_levels[table._blocks()](
            points.tensor, points.group, words, window.invalid_groups, *table._layout(),
            *points.tensor.stride(), *table._groups(), **grid.static, BLOCK=BLOCK,
        )  # fmt: skip
        size = max(1, WORD_BLOCK // grid.words)
        number_levels[(ceil_div(cells, size),)](
            words, cell_list, counters, cells, WORDS=grid.words, BLOCK=size
        )
        return table

    def filter(self, maps: Tensor, units: Tensor, out: Tensor) -> None:
        """Filter maps (F, up to CHANNELS, H, W) into out, whose planes are contiguous."""
        self.read(self.blur(self.splat(maps, units)), out, units)

    def splat(self, maps: Tensor, units: Tensor) -> Tensor:
        """Sums of maps (F, K, H, W) on the nodes: (K, groups, n, n, n) int64, fixed point."""
        grid, count, device = self.grid, maps.shape[1], maps.device
        shape = (count, self.window.groups, grid.nodes, grid.nodes, grid.nodes)
        copies = grid.copies(self.window.groups)
        colors = grid.capacity(self.window.groups)[1]
        table = torch.empty(colors, copies, count, dtype=torch.int64, device=device)
        nodes = torch.zeros(shape, dtype=torch.int64, device=device)
        programs = (persistent_programs(device),)
        clear_sums[programs](table, self.counters, WIDTH=copies * count, BLOCK=CLEAR_BLOCK)
        self._sum(maps, units, table)
        cells_to_nodes[programs](
            table, *self._cells(), nodes, nodes.stride(0), **self._rows(count), COPIES=copies
        )
        return nodes

    def blur(self, nodes: Tensor) -> Tensor:
        """Blurs nodes (K, groups, n, n, n) int64 → float32."""
        return blur_nodes(nodes.flatten(0, 1), self.grid.sigma, self.grid.spacing).view(nodes.shape)

    def read(
        self, nodes: Tensor, out: Tensor, factors: Tensor, scale: float = 1.0,
        by_group: bool = False, other: bool = False,
    ) -> None:  # fmt: skip
        """Reads nodes (K, groups, n, n, n) float32 into out (F, K, H, W) times a factor.

        See `read_levels`.
        """
        points, window, count = self.grid.points, self.window, len(nodes)
        colors = self.grid.capacity(window.groups)[1]
        table = torch.empty(colors, count, dtype=torch.float32, device=nodes.device)
        nodes_to_cells[(persistent_programs(nodes.device),)](
            table, *self._cells(), nodes, nodes.stride(0), **self._rows(count)
        )
        read_levels[self._blocks()](
            points.group, table, self.color_of, window.invalid_groups, factors, scale, out,
            *self._layout(), out.stride(0), out.stride(1), 1, window.first, window.last,
            points.num_groups, BY_GROUP=by_group, OTHER=other,
            MAPS=count, PADDED=triton.next_power_of_2(count), BLOCK=BLOCK,
        )  # fmt: skip

    def _sum(self, maps: Tensor, units: Tensor, table: Tensor) -> None:
        """Sum the maps per colour, and number the colours of the points."""
        points, count = self.grid.points, maps.shape[1]
        sum_levels[self._blocks()](
            points.tensor, points.group, maps, self.words, self.color_of, table,
            self.window.invalid_groups, units, self.window.bound, *self._layout(),
            *points.tensor.stride(), *maps.stride(), *self._groups(), **self.grid.static,
            COPIES=table.shape[1], MAPS=count, PADDED=triton.next_power_of_2(count),
            STRIP=STRIP, BLOCK=BLOCK,
        )  # fmt: skip

    def _blocks(self) -> tuple[int]:
        return (ceil_div(self.grid.points.count, BLOCK),)

    def _layout(self) -> tuple[int, int, int]:
        return (self.grid.points.count, *self.grid.points.plane)

    def _groups(self) -> tuple[int, int, int, int]:
        window = self.window
        return window.first, window.last, window.start, self.grid.points.num_groups

    def _cells(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.words, self.cell_list, self.counters

    def _rows(self, maps: int) -> dict[str, int]:
        """Constants of the kernels over cells."""
        rows = {"NODES": self.grid.nodes, "MAPS": maps, "TAPS": TAPS, "BLOCK": ROW_BLOCK}
        return self.grid.static | rows


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
