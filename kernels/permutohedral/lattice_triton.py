"""Gaussian filter on the permutohedral lattice: Triton backend.

Computes the same numbers as the PyTorch backend (`lattice_torch.py`), which is the version to read
first. All data stays on the device, and nothing synchronizes with the host:

1. `insert_simplices`: finds the simplex of every pixel and inserts it into a hash table.
2. `insert_vertices`: inserts the d+1 vertices of every simplex into a second table.
3. `insert_ring`: inserts the 2(d+1) neighbours of every vertex.
4. `clear`, `splat`, `collect`: sums pixels per simplex and corner, then simplices into vertices.
5. `blur`, once per axis: both orders of axes in one launch.
6. `distribute`, `slice_pixels`: vertices to the corners of simplices, then to pixels.

Steps 1 to 3 run once per pass (`Tables`), 4 to 6 once per chunk of maps. Tables are allocated at
the upper bound of `table_capacity`, so that they cannot overflow.
"""

from collections.abc import Callable

import torch
import triton
from torch import Tensor

from colocam.kernels.launch import (
    Points,
    Window,
    block,
    ceil_div,
    filter_in_passes,
    persistent_programs,
)
from colocam.kernels.permutohedral.capacity import (
    Capacity,
    axis_steps,
    check_key_range,
    key_bits,
    table_capacity,
)
from colocam.kernels.permutohedral.filter_kernels_triton import (
    blur,
    clear,
    collect,
    distribute,
    slice_pixels,
    splat,
)
from colocam.kernels.permutohedral.geometry import Stencil, axis_factors
from colocam.kernels.permutohedral.insert_kernels_triton import (
    insert_ring,
    insert_simplices,
    insert_vertices,
)

BLOCK = block(128)  # points per program; at least its threads, see `hash_table_triton.insert`
STRIP = 16  # neighbouring points that are summed first where they share a simplex
CHANNELS = 4  # maps filtered at once
ROW_BLOCK = block(64)  # simplices or vertices per program and iteration
ROW_WARPS = 2  # of programs that insert rows: at most ROW_BLOCK threads, see `insert`


class TritonLattice:
    """Filter for fixed points; `apply` filters any maps."""

    def __init__(
        self,
        points: Points,
        sigmas: list[float],
        *,
        xy: bool,
        stencil: Stencil,
        ring: bool = True,
    ) -> None:
        """Computes the layout of the keys.

        Args:
            points: whose channels, and with xy also column and row, are the features.
            sigmas: one per feature.
            xy: whether column and row are features.
            stencil: of the blur.
            ring: whether to insert the neighbours of occupied vertices.

        Raises:
            ValueError: keys are too narrow for the number of groups or the sigmas.
        """
        self.points, self.stencil, self.ring, self.xy = points, stencil, ring, xy
        self.d = len(sigmas)
        self.factors = axis_factors(sigmas, stencil.scale)
        self.bits = key_bits(self.d, points.num_groups)
        self.extents: list[float] | None = None
        if points.colors and points.tensor.shape[1] == 3:  # the range of other features is unknown
            height, width = points.tensor.shape[2:]
            self.extents = [255.0, 255.0, 255.0, width - 1.0, height - 1.0][: self.d]
            check_key_range(self.factors, self.extents, self.bits, points.num_groups)

    def capacity(self, groups: int) -> Capacity:
        """Capacity that a pass over `groups` groups needs."""
        return table_capacity(self.points.count, groups, self.factors, self.extents, self.ring)

    def apply(self, maps: Tensor, limit: int | None = None, largest: float | None = None) -> Tensor:
        """Filter maps (F, K, H, W) float32, any strides → the same shape, contiguous.

        See `filter_in_passes` for the arguments.
        """
        simplex_of = torch.empty(self.points.count, dtype=torch.int32, device=maps.device)

        def scratch(groups: int, maps: int) -> int:
            simplices, vertices = self.capacity(groups).slots
            row = (self.d + 1) * (8 * maps + 4) + 12  # sums, corners, key and list
            return simplices * row + vertices * (16 * maps + 12)

        def prepare(window: Window) -> Callable[[Tensor, Tensor, Tensor], None]:
            return Tables(self, window, simplex_of).filter

        return filter_in_passes(self.points, maps, CHANNELS, scratch, prepare, limit, largest)


class Tables:
    """Simplices and vertices of one pass, in hash tables filled on construction.

    Attributes:
        simplex_of: (points,) int32, slot of each point's simplex.
        simplices, vertices: int64 keys by slot.
        simplex_list, vertex_list: int32, the occupied slots.
        corner: (simplex slots, d + 1) int32, slots of a simplex's vertices.
        counters: (3,) int32: simplices, occupied vertices, vertices added by the ring.
    """

    def __init__(self, lattice: TritonLattice, window: Window, simplex_of: Tensor) -> None:
        self.lattice, self.simplex_of = lattice, simplex_of
        self.invalid_groups, self.bound = window.invalid_groups, window.bound
        self.range = (window.first, window.last)
        device, d = window.invalid_groups.device, lattice.d
        self.slots = lattice.capacity(window.groups).slots
        if max(self.slots) >= 2**31:
            raise ValueError("too many points for method 'permutohedral': filter fewer at a time")
        keys = torch.full((sum(self.slots),), -1, dtype=torch.int64, device=device)
        lists = torch.empty(sum(self.slots), dtype=torch.int32, device=device)
        self.simplices, self.vertices = keys.split(self.slots)
        self.simplex_list, self.vertex_list = lists.split(self.slots)
        self.corner = torch.empty(self.slots[0], d + 1, dtype=torch.int32, device=device)
        self.counters = torch.zeros(3, dtype=torch.int32, device=device)
        self.programs = (persistent_programs(device),)
        self._fill()

    def _fill(self) -> None:
        lattice, points = self.lattice, self.lattice.points
        shape = {"D": lattice.d, "BITS": lattice.bits}
        insert_simplices[self._blocks()](
            points.tensor, points.group, self.simplex_of,
            self.simplices, self.simplex_list, self.counters, self.invalid_groups,
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

    def filter(self, maps: Tensor, units: Tensor, out: Tensor) -> None:
        """Filter maps (F, up to CHANNELS, H, W) into out, whose planes are contiguous."""
        count, width = maps.shape[1], (self.lattice.d + 1) * maps.shape[1]
        sums = torch.empty(self.slots[0], width, dtype=torch.int64, device=maps.device)
        before, after = (
            torch.empty(self.slots[1], 2 * count, dtype=torch.float32, device=maps.device)
            for _ in range(2)
        )
        self._splat(maps, units, sums, before.view(torch.int64))
        blurred = self._blur(before, after)
        self._slice(blurred, sums.view(torch.float32), units, out)

    def _pixels(self, maps: int) -> dict[str, float]:
        """Constants of the kernels over pixels."""
        lattice, width = self.lattice, (self.lattice.d + 1) * maps
        return {
            "D": lattice.d, "XY": lattice.xy, "SELF_NORMALIZED": lattice.stencil.self_normalized,
            "NEIGHBOR": lattice.stencil.neighbor, "BITS": lattice.bits, "MAPS": maps,
            "WIDTH": width, "PADDED": triton.next_power_of_2(width), "BLOCK": BLOCK,
            "enable_fp_fusion": False,
        }  # fmt: skip

    def _splat(self, maps: Tensor, units: Tensor, sums: Tensor, values: Tensor) -> None:
        """Sum maps per simplex and corner, then per vertex; values (vertex slots, K) int64."""
        points, pixels = self.lattice.points, self._pixels(maps.shape[1])
        rows = {"MAPS": maps.shape[1], "BLOCK": ROW_BLOCK}
        clear[self.programs](
            self.simplex_list, self.vertex_list, sums, values, self.counters,
            WIDTH=pixels["WIDTH"], PADDED=pixels["PADDED"], **rows,
        )  # fmt: skip
        splat[self._blocks()](
            points.tensor, points.group, self.simplex_of, maps, sums,
            self.invalid_groups, units, self.bound, points.count, *points.plane,
            *points.tensor.stride(), *maps.stride(),
            *self._factors(), *self.range, **pixels, STRIP=STRIP,
        )  # fmt: skip
        collect[self.programs](
            self.simplex_list, self.corner, sums, values, self.counters, D=self.lattice.d, **rows
        )

    def _blur(self, before: Tensor, after: Tensor) -> Tensor:
        """Blur along all axes in both orders; returns the buffer that has the result."""
        d, rows = self.lattice.d, {"MAPS": before.shape[1] // 2, "BLOCK": ROW_BLOCK}
        steps = axis_steps(d, self.lattice.bits)
        for axis in range(d + 1):
            blur[self.programs](
                self.vertices, self.vertex_list,
                before.view(torch.int64) if axis == 0 else before, after, self.counters,
                self.slots[1], steps[axis], steps[d - axis],
                self.lattice.stencil.neighbor, FIRST=axis == 0, **rows,
            )  # fmt: skip
            before, after = after, before
        return before

    def _slice(self, values: Tensor, rows: Tensor, units: Tensor, out: Tensor) -> None:
        """Read values of the vertices into rows of simplices, and from these into pixels."""
        lattice, points, count = self.lattice, self.lattice.points, out.shape[1]
        distribute[self.programs](
            self.simplex_list, self.corner, values, rows, self.counters,
            D=lattice.d, MAPS=count, BLOCK=ROW_BLOCK,
        )  # fmt: skip
        slice_pixels[self._blocks()](
            points.tensor, points.group, self.simplex_of, rows, self.invalid_groups, units, out,
            points.count, *points.plane, *points.tensor.stride(),
            out.stride(0), out.stride(1), 1, *self._factors(), *self.range,
            points.num_groups, 0.5 * lattice.stencil.amplitude, **self._pixels(count),
        )  # fmt: skip
