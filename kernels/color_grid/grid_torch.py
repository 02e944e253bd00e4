"""Gaussian filter of three colour channels on a regular grid: PyTorch backend."""

import math

import torch
from torch import Tensor

from colocam.kernels.color_grid.geometry import (
    LEVELS,
    Spacing,
    blur_factor,
    nodes_for_features,
    spacing_for_colors,
    spacing_for_levels,
    spline_weights,
    tap_offsets,
)
from colocam.kernels.products import product

CHUNK_NODES = 2**20  # nodes x channels blurred at once, unless one group and channel has more
TABLE_LIMIT = 2**26  # cells x groups; up to it a lookup table numbers the cells, above it sorting
LEVELS_PER_PIXEL = 64  # colours of occupied cells per pixel, up to which `Levels` is used


class ColorGrid:
    """Filter for fixed colours; `apply` filters any values.

    Built by `from_levels` (8-bit colours: pixels of equal colour are summed first), `from_colors`
    or `from_features`.
    """

    def __init__(
        self, sigma: float, spacing: Spacing, nodes: tuple[int, int, int], num_groups: int
    ) -> None:
        self.sigma, self.spacing, self.nodes, self.num_groups = sigma, spacing, nodes, num_groups
        self.splatter: Levels | Colors

    @classmethod
    def from_levels(
        cls, levels: Tensor, group: Tensor, num_groups: int, sigma: float
    ) -> "ColorGrid":
        """Grid for integer colours: levels (3, P) uint8, group (P,) int64, sigma in levels."""
        spacing = spacing_for_levels(sigma)
        nodes = math.ceil(LEVELS / spacing.step) + spacing.degree
        grid = cls(sigma, spacing, (nodes, nodes, nodes), num_groups)
        if spacing.degree:
            grid.splatter = Levels(levels, group, num_groups, spacing, nodes)
            if grid.splatter.size <= LEVELS_PER_PIXEL * len(group):
                return grid
        cell = levels.to(torch.int64) // int(spacing.step)
        fraction = (levels - cell * spacing.step).to(torch.float64) / spacing.step
        grid.splatter = Colors(cell, fraction, group, spacing, grid.nodes)
        return grid

    @classmethod
    def from_colors(
        cls, colors: Tensor, group: Tensor, num_groups: int, sigma: float
    ) -> "ColorGrid":
        """Grid for any colours: colors (3, P) float 0...255, group (P,) int64, sigma in levels."""
        spacing = spacing_for_colors(sigma)
        nodes = math.ceil(LEVELS / spacing.step) + spacing.degree
        grid = cls(sigma, spacing, (nodes, nodes, nodes), num_groups)
        scaled = colors / spacing.step
        cell = scaled.floor()
        grid.splatter = Colors(cell.to(torch.int64), scaled - cell, group, spacing, grid.nodes)
        return grid

    @classmethod
    def from_features(cls, features: Tensor, group: Tensor, num_groups: int) -> "ColorGrid":
        """Grid for features (3, P) float in units of sigma, group (P,) int64."""
        spacing, nodes, first = nodes_for_features(features)
        scaled = features * (1 / spacing.step)
        cell = scaled.floor()
        origin = torch.tensor(first, device=features.device).unsqueeze(1)
        grid = cls(1.0, spacing, nodes, num_groups)
        grid.splatter = Colors(cell.to(torch.int64) - origin, scaled - cell, group, spacing, nodes)
        return grid

    def apply(self, values: Tensor) -> Tensor:
        """Filter values (C, P) float32 or float64 → (C, P)."""
        channels, sites = values.shape[0], math.prod(self.nodes)
        if channels > 1 and channels * sites > CHUNK_NODES:
            return torch.cat([self.apply(v.unsqueeze(0)) for v in values])
        factors = [
            blur_factor(self.sigma, self.spacing, n).to(values.device, values.dtype)
            for n in self.nodes
        ]
        splatted = self.splatter.reduce(values)
        out = torch.zeros_like(splatted)
        step = max(1, CHUNK_NODES // (sites * channels))
        for first in range(0, self.num_groups, step):
            count = min(step, self.num_groups - first)
            grid = self.splatter.splat(splatted, first, count)
            grid = blur(grid.view(channels * count, *self.nodes), factors)
            self.splatter.slice(grid.view(channels, count * sites), out, first, count)
        return self.splatter.expand(out)


def blur(grid: Tensor, factors: list[Tensor]) -> Tensor:
    """Blur along the three axes: grid (N, n0, n1, n2), factors (n, rank) each → the same shape."""
    f0, f1, f2 = factors
    n = grid.shape[0]
    x = product(grid, f2)  # (N, n0, n1, r2)
    x = product(f1.T, x)  # (N, n0, r1, r2)
    x = product(f0.T, x.view(n, f0.shape[0], -1))  # (N, r0, r1 r2)
    x = product(f0, x).view(n, f0.shape[0], f1.shape[1], f2.shape[1])
    return product(product(f1, x), f2.T)


class Colors:
    """Splatter of pixels with any colours: each pixel onto the nodes of its cell."""

    def __init__(
        self,
        cell: Tensor,
        fraction: Tensor,
        group: Tensor,
        spacing: Spacing,
        nodes: tuple[int, int, int],
    ) -> None:
        """Precomputes nodes and weights.

        Args:
            cell: (3, P) int64.
            fraction: (3, P) float in [0, 1), position in the cell.
            group: (P,) int64.
            spacing: of the grid.
            nodes: nodes per axis.
        """
        self.sites = math.prod(nodes)
        self.group = group
        self.index = (cell[0] * nodes[1] + cell[1]) * nodes[2] + cell[2]
        self.weights = spline_weights(fraction, spacing.degree)  # (3, P, taps)
        self.offsets = tap_offsets(spacing, nodes, group.device).tolist()
        self.taps = spacing.taps

    def reduce(self, values: Tensor) -> Tensor:
        """Values (C, P) unchanged: there is no reduction before the splat."""
        return values

    def expand(self, values: Tensor) -> Tensor:
        """Transpose of `reduce`: the identity."""
        return values

    def _tap_weights(self, chosen: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Weights (P,) of the chosen pixels for each node of a cell."""
        w = self.weights[:, chosen].to(dtype)  # (3, P, taps)
        pairs = [w[0, :, i] * w[1, :, j] for i in range(self.taps) for j in range(self.taps)]
        return [pair * w[2, :, k] for pair in pairs for k in range(self.taps)]

    def _chosen(self, first: int, count: int) -> Tensor:
        inside = (self.group >= first) & (self.group < first + count)
        return inside.nonzero().squeeze(1)

    def splat(self, values: Tensor, first: int, count: int) -> Tensor:
        """Splat values (C, P) of groups first...first+count-1: (C, count sites)."""
        chosen = self._chosen(first, count)
        index = self.index[chosen] + (self.group[chosen] - first) * self.sites
        values = values[:, chosen]
        weights = self._tap_weights(chosen, values.dtype)
        # a float32 sum of a million pixels of one colour loses digits
        grid = values.new_zeros(len(values), count * self.sites, dtype=torch.float64)
        for offset, weight in zip(self.offsets, weights, strict=True):
            for channel in range(len(values)):
                v = values[channel] * weight
                grid[channel].scatter_add_(0, index + offset, v.to(grid.dtype))
        return grid.to(values.dtype)

    def slice(self, grid: Tensor, out: Tensor, first: int, count: int) -> None:
        """Slice grid (C, count sites) at pixels of groups first...first+count-1 into out (C, P)."""
        chosen = self._chosen(first, count)
        index = self.index[chosen] + (self.group[chosen] - first) * self.sites
        weights = self._tap_weights(chosen, grid.dtype)
        read = grid.new_zeros(len(grid), len(chosen))
        for offset, weight in zip(self.offsets, weights, strict=True):
            read.addcmul_(grid.index_select(1, index + offset), weight)
        out[:, chosen] = read


class Levels:
    """Splatter of 8-bit pixels: sums pixels of equal colour, then splats whole cells.

    Frames occupy few of the cells. The colours within a cell have the same positions in every
    cell, so that one small matrix maps the sums of a cell's colours to its nodes.
    """

    def __init__(
        self, levels: Tensor, group: Tensor, num_groups: int, spacing: Spacing, nodes: int
    ) -> None:
        side, cells = int(spacing.step), math.ceil(LEVELS / spacing.step)
        self.sites, self.nodes, self.spacing = nodes**3, nodes, spacing
        key, within = group.to(torch.int64), torch.zeros_like(group, dtype=torch.int64)
        for axis in levels:
            cell = axis // side
            key = key * cells + cell
            within = within * side + (axis - cell * side)
        occupied, number = number_cells(key, num_groups * cells**3)
        self.level = number * side**3 + within  # (P,) index among the colours of the occupied cells
        c2, c1 = occupied % cells, occupied // cells % cells
        c0, self.group = occupied // cells**2 % cells, occupied // cells**3
        self.index = (c0 * nodes + c1) * nodes + c2
        self.offsets = tap_offsets(spacing, (nodes,) * 3, group.device)
        self.size = len(occupied) * side**3
        self.bounds = torch.searchsorted(
            self.group, torch.arange(num_groups + 1, device=group.device)
        ).tolist()  # cells are ordered by group

    def _to_nodes(self, values: Tensor) -> Tensor:
        """Weights from the colours of a cell to its nodes: (side^3, taps^3)."""
        side = int(self.spacing.step)
        t = torch.arange(side, dtype=values.dtype, device=values.device) / side
        w = spline_weights(t, self.spacing.degree)
        return torch.kron(torch.kron(w, w), w)

    def reduce(self, values: Tensor) -> Tensor:
        """Sum values (C, P) per colour, then weight them per cell: (C, cells, taps^3)."""
        side = int(self.spacing.step)
        # a float32 sum of a million pixels of one colour loses digits
        sums = values.new_zeros(len(values), self.size, dtype=torch.float64)
        for channel in range(len(values)):
            sums[channel].scatter_add_(0, self.level, values[channel].to(torch.float64))
        sums = sums.to(values.dtype).view(len(values), -1, side**3)
        return product(sums, self._to_nodes(values))

    def expand(self, values: Tensor) -> Tensor:
        """Transpose of `reduce`: (C, cells, taps^3) → (C, P)."""
        levels = product(values, self._to_nodes(values).T).flatten(1)
        return levels.index_select(1, self.level)

    def _index(self, first: int, count: int) -> tuple[slice, Tensor]:
        chosen = slice(self.bounds[first], self.bounds[first + count])
        index = self.index[chosen] + (self.group[chosen] - first) * self.sites
        return chosen, (index[:, None] + self.offsets).view(-1)

    def splat(self, values: Tensor, first: int, count: int) -> Tensor:
        """Add values (C, cells, taps^3) of groups first... on their nodes: (C, count sites)."""
        chosen, index = self._index(first, count)
        grid = values.new_zeros(len(values), count * self.sites)
        for channel in range(len(values)):
            grid[channel].scatter_add_(0, index, values[channel, chosen].reshape(-1))
        return grid

    def slice(self, grid: Tensor, out: Tensor, first: int, count: int) -> None:
        """Gather grid (C, count sites) for cells of groups first... into out (C, cells, taps^3)."""
        chosen, index = self._index(first, count)
        out[:, chosen] = grid.index_select(1, index).view(len(grid), -1, len(self.offsets))


def number_cells(key: Tensor, space: int) -> tuple[Tensor, Tensor]:
    """The distinct keys in ascending order, and the index of each key (P,) among them."""
    if space > TABLE_LIMIT:
        return torch.unique(key, return_inverse=True)
    seen = torch.zeros(space, dtype=torch.bool, device=key.device).index_fill_(0, key, True)
    occupied = seen.nonzero().squeeze(1)
    table = torch.empty(space, dtype=torch.int64, device=key.device)
    table[occupied] = torch.arange(len(occupied), device=key.device)
    return occupied, table.index_select(0, key)
