"""The permutohedral lattice in Triton: the tables of a pass, and the launches of its kernels.

The results are those of `lattice_torch`, which is the version to read first. Everything stays on
the device, and nothing waits for the host. The hash tables cannot overflow, see
`capacity.capacity_for`.
"""

from collections.abc import Callable

import torch
import triton
from torch import Tensor

from colocam.kernels.launch import Points, Window, block, ceil_div, filter_in_passes, workers
from colocam.kernels.permutohedral.capacity import (
    Capacity,
    axis_steps,
    capacity_for,
    check_reach,
    key_bits,
)
from colocam.kernels.permutohedral.filter_triton import (
    blur,
    clear,
    collect,
    distribute,
    slice_pixels,
    splat,
)
from colocam.kernels.permutohedral.geometry import Stencil, axis_factors
from colocam.kernels.permutohedral.tables_triton import (
    insert_ring,
    insert_simplices,
    insert_vertices,
)

BLOCK = block(128)  # points per program; not fewer than its threads, see `insert`
STRIP = 16  # neighbouring points that are summed before the atomics where they share a row
CHANNELS = 4  # maps filtered at once
ROW_BLOCK = block(64)  # simplices or vertices per program and iteration
ROW_WARPS = 2  # of the kernels that insert them: not more threads than rows, see `insert`


class TritonLattice:
    """Filter for fixed points; `apply` accepts any maps."""

    def __init__(
        self,
        points: Points,
        sigmas: list[float],
        *,
        xy: bool,
        stencil: Stencil,
        ring: bool = True,
    ) -> None:
        """Sigmas: of the channels of points and, with xy, of column and row.

        `ring` inserts the neighbours of occupied vertices.
        """
        self.points, self.stencil, self.ring, self.xy = points, stencil, ring, xy
        self.d = len(sigmas)
        self.factors = axis_factors(sigmas, stencil.scale)
        self.bits = key_bits(self.d, points.num_groups)
        self.extents = None
        if points.colors:
            height, width = points.tensor.shape[2:]
            self.extents = [255.0, 255.0, 255.0, width - 1.0, height - 1.0][: self.d]
            check_reach(self.factors, self.extents, self.bits, points.num_groups)

    def capacity(self, groups: int) -> Capacity:
        """Capacity that a pass over a number of groups needs."""
        return capacity_for(self.points.count, groups, self.factors, self.extents, self.ring)

    def apply(self, maps: Tensor, limit: int | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous."""
        simplex_of = torch.empty(self.points.count, dtype=torch.int32, device=maps.device)

        def scratch(groups: int, maps: int) -> int:
            simplices, vertices = self.capacity(groups).slots
            row = (self.d + 1) * (8 * maps + 4) + 12  # sums, corners, key and list
            return simplices * row + vertices * (16 * maps + 12)

        def prepare(window: Window) -> Callable[[Tensor, Tensor], None]:
            return Tables(self, window, simplex_of).filter

        return filter_in_passes(self.points, maps, CHANNELS, scratch, prepare, limit)


class Tables:
    """Filled tables of one pass over a lattice."""

    def __init__(self, lattice: TritonLattice, window: Window, simplex_of: Tensor) -> None:
        self.lattice, self.simplex_of, self.bad = lattice, simplex_of, window.bad
        self.range = (window.first, window.last)
        device, d = window.bad.device, lattice.d
        self.slots = lattice.capacity(window.groups).slots
        if max(self.slots) >= 2**31:
            raise ValueError("too many points for method 'permutohedral': filter fewer at a time")
        keys = torch.full((sum(self.slots),), -1, dtype=torch.int64, device=device)
        lists = torch.empty(sum(self.slots), dtype=torch.int32, device=device)
        self.simplices, self.vertices = keys.split(self.slots)
        self.simplex_list, self.vertex_list = lists.split(self.slots)
        self.corner = torch.empty(self.slots[0], d + 1, dtype=torch.int32, device=device)
        self.counters = torch.zeros(3, dtype=torch.int32, device=device)
        self.programs = (workers(device),)
        self._fill()

    def _fill(self) -> None:
        lattice, points = self.lattice, self.lattice.points
        shape = {"D": lattice.d, "BITS": lattice.bits}
        insert_simplices[self._blocks()](
            points.tensor, points.group, self.simplex_of,
            self.simplices, self.simplex_list, self.counters, self.bad,
            points.count, *points.plane, *points.tensor.stride(),
            *self._factors(), *self.range, points.num_groups, self.slots[0],
            **shape, XY=lattice.xy, COLORS=points.colors, BLOCK=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
        insert_vertices[self.programs](
            self.simplices, self.simplex_list, self.vertices, self.vertex_list, self.corner,
            self.counters, self.slots[1],
            **shape, BLOCK=ROW_BLOCK, num_warps=ROW_WARPS, maxnreg=64,
        )  # fmt: skip
        if lattice.ring:
            around = (ceil_div(self.programs[0], lattice.d + 1), 2 * (lattice.d + 1))
            insert_ring[around](
                self.vertices, self.vertex_list, self.counters, self.slots[1],
                **shape, BLOCK=ROW_BLOCK, num_warps=ROW_WARPS,
            )  # fmt: skip

    def _blocks(self) -> tuple[int]:
        return (ceil_div(self.lattice.points.count, BLOCK),)

    def _factors(self) -> list[float]:
        return [*self.lattice.factors, *[0.0] * (5 - self.lattice.d)]

    def filter(self, maps: Tensor, out: Tensor) -> None:
        """Maps (F, up to CHANNELS, H, W) → out of the same shape, its planes contiguous."""
        lattice, points, d = self.lattice, self.lattice.points, self.lattice.d
        count = maps.shape[1]
        width = (d + 1) * count
        sums = torch.empty(self.slots[0], width, dtype=torch.float64, device=maps.device)
        before, after = (
            torch.empty(self.slots[1], 2 * count, dtype=torch.float32, device=maps.device)
            for _ in range(2)
        )
        pixels = {
            "D": d, "XY": lattice.xy, "SELF_NORMALIZED": lattice.stencil.self_normalized,
            "NEIGHBOR": lattice.stencil.neighbor, "BITS": lattice.bits, "MAPS": count,
            "WIDTH": width, "PADDED": triton.next_power_of_2(width), "BLOCK": BLOCK,
            "enable_fp_fusion": False,
        }  # fmt: skip
        rows = {"MAPS": count, "BLOCK": ROW_BLOCK}
        where = (points.count, *points.plane, *points.tensor.stride())
        clear[self.programs](
            self.simplex_list, self.vertex_list, sums, before, self.counters,
            WIDTH=width, PADDED=pixels["PADDED"], **rows,
        )  # fmt: skip
        splat[self._blocks()](
            points.tensor, points.group, self.simplex_of, maps, sums,
            *where, *maps.stride(), *self._factors(), *self.range, **pixels, STRIP=STRIP,
        )  # fmt: skip
        collect[self.programs](
            self.simplex_list, self.corner, sums, before, self.counters, D=d, **rows
        )
        steps = axis_steps(d, lattice.bits)
        for axis in range(d + 1):
            blur[self.programs](
                self.vertices, self.vertex_list, before, after, self.counters, self.slots[1],
                steps[axis], steps[d - axis], lattice.stencil.neighbor,
                FIRST=axis == 0, **rows,
            )  # fmt: skip
            before, after = after, before
        distribute[self.programs](
            self.simplex_list, self.corner, before, sums.view(torch.float32), self.counters,
            D=d, **rows,
        )  # fmt: skip
        slice_pixels[self._blocks()](
            points.tensor, points.group, self.simplex_of, sums.view(torch.float32), self.bad, out,
            *where, out.stride(0), out.stride(1), 1, *self._factors(), *self.range,
            points.num_groups, 0.5 * lattice.stencil.amplitude, **pixels,
        )  # fmt: skip
