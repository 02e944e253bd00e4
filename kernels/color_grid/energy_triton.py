"""Energy of a CRF on colour alone, from the nodes of the colour grid, and its gradient.

The energy needs no filtered pixels: with n_r the sums of map r on the nodes and B the blur,
S_r^T W S_s = n_r^T B n_s. The gradient is read from the blurred nodes in the backward pass, where
its factor is known, and written once. Of the forward pass only nodes and colours are kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from colocam.kernels.color_grid.geometry import spacing_for_levels
from colocam.kernels.color_grid.grid_triton import ColorTable, LevelGrid
from colocam.kernels.color_grid.level_kernels_triton import energy_of_nodes, sum_of_groups
from colocam.kernels.launch import (
    ANY,
    SCRATCH_BYTES,
    Points,
    Window,
    block,
    ceil_div,
    fixed_point,
    fixed_unit,
    padded,
    parts_of,
)

MAPS = 2  # background and foreground
LARGEST = 1.0  # of the maps, which are probabilities
NODE_BLOCK = block(1024)  # nodes per program of `energy_of_nodes`
PARTS_BLOCK = 256  # parts that a program of `sum_of_groups` adds at once


@dataclass(frozen=True)
class EnergyOnNodes:
    """Energy of two maps over groups of 8-bit images.

    Args:
        images: (B, 3, H, W) uint8, any strides.
        group: (B,) int64, contiguous.
        num_groups: G.
        sigma: in levels.
        form: "association" or "cut".
    """

    images: Tensor
    group: Tensor
    num_groups: int
    sigma: float
    form: str

    @property
    def grid(self) -> LevelGrid:
        """The filter."""
        points = Points(self.images, self.group, self.num_groups, colors=True)
        return LevelGrid(points, self.sigma, spacing_for_levels(self.sigma))

    def fits(self) -> bool:
        """Whether cells have several levels, and all groups fit into one pass."""
        several = spacing_for_levels(self.sigma).degree > 0
        return several and self.grid.scratch(self.num_groups, MAPS) <= SCRATCH_BYTES

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of what `forward` returns after the energy."""
        grid, groups = self.grid, self.num_groups
        nodes = (MAPS, groups, grid.nodes, grid.nodes, grid.nodes)
        state = sum(map(padded, self._sizes()))
        return (state,), (grid.capacity(groups)[0],), (grid.points.count,), nodes

    def forward(self, probs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Energies (G,) of probs (B, 2, H, W) float32, any strides, and what `gradient` needs.

        Returns:
            energies, NaN as in `crf_energy`; counters, flags of groups and colours in one tensor;
            the occupied cells; the colours of pixels (all int32); the blurred nodes.
        """
        units, bound = fixed_point(self.grid.points.count, probs, largest=LARGEST)
        state = torch.zeros(self.shapes()[0], dtype=torch.int32, device=probs.device)
        counters, flags, words = parts_of(state, self._sizes())
        table = ColorTable.in_zeros(self.grid, self._window(flags, bound), counters, words)
        sums = table.splat(probs, units)
        blurred = table.blur(sums)
        return self._energy(sums, blurred, flags), state, table.cell_list, table.color_of, blurred

    def gradient(
        self, grad: Tensor, state: Tensor, cell_list: Tensor, color_of: Tensor, blurred: Tensor
    ) -> Tensor:
        """Gradient of probs (B, 2, H, W) from grad (G,) and from what `forward` returned."""
        frames, _, height, width = self.images.shape
        out = torch.empty(frames, MAPS, height, width, dtype=torch.float32, device=grad.device)
        counters, flags, words = parts_of(state, self._sizes())
        window = self._window(flags, 0.0)
        table = ColorTable(self.grid, window, words, cell_list, counters, color_of)
        scale = 2 * self._sign / fixed_unit(self.grid.points.count, LARGEST)
        table.read(blurred, out, grad.contiguous(), scale, by_group=True, other=self._sign > 0)
        return out

    def _energy(self, sums: Tensor, blurred: Tensor, flags: Tensor) -> Tensor:
        nodes, groups = sums[0, 0].numel(), self.num_groups
        blocks = ceil_div(nodes, NODE_BLOCK)
        parts = torch.empty(groups, blocks, dtype=torch.float64, device=sums.device)
        energy = torch.empty(groups, dtype=torch.float32, device=sums.device)
        scale = self._sign / fixed_unit(self.grid.points.count, LARGEST) ** 2
        energy_of_nodes[blocks, groups](
            sums, blurred, flags, parts, nodes, sums.stride(0), groups, scale,
            OTHER=self._sign > 0, MAPS=MAPS, BLOCK=NODE_BLOCK,
        )  # fmt: skip
        sum_of_groups[(groups,)](parts, energy, blocks, BLOCK=PARTS_BLOCK)
        return energy

    @property
    def _sign(self) -> float:
        """The energy is -sum_r S_r^T W S_r, or the sum of S_r^T W S_s over both orders of maps."""
        return 1.0 if self.form == "cut" else -1.0

    def _sizes(self) -> list[int]:
        """Sizes of counters, flags of groups, and words of colours."""
        return [2, self.num_groups + 1, self.grid.words_size(self.num_groups)]

    def _window(self, flags: Tensor, bound: float) -> Window:
        return Window(-ANY, ANY, 0, self.num_groups, flags, bound)
