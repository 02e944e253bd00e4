"""Gaussian filter on the permutohedral lattice: Triton backend.

Computes the same numbers as the PyTorch backend (`lattice_torch.py`), which is the version to read
first. All data stays on the device, and nothing synchronizes with the host:

1. `insert_simplices`: finds the simplex of every pixel and inserts it into a hash table.
2. `insert_corners`: inserts the d+1 vertices of every simplex, the corners, into a second table.
3. `number_corners`, `corners_by_number`: numbers them, and inserts them into a third table.
4. `insert_ring`: inserts and numbers the 2(d+1) neighbours of every corner.
5. `find_neighbors`: the numbers of the neighbours of every vertex.
6. `clear`, `splat`, `collect`: sums pixels per simplex and corner, then simplices into vertices.
7. `blur`, once per axis: both orders of axes in one launch.
8. `distribute`, `slice_pixels`: vertices to the corners of simplices, then to pixels.

Steps 1 to 5 run once per pass (`Tables`), 6 to 8 once per chunk of maps. Tables are allocated at
the upper bound of `table_capacity`, so that they cannot overflow; what is cleared and used of them
follows from the counts, which stay on the device.
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
    clear_neighbors,
    clear_slots,
    corners_by_number,
    find_neighbors,
    insert_corners,
    insert_ring,
    insert_simplices,
    number_corners,
)

BLOCK = block(128)  # points per program; at least its threads, see `hash_table_triton.insert`
STRIP = 16  # neighbouring points that are summed first where they share a simplex
CHANNELS = 4  # maps filtered at once
ROW_BLOCK = block(64)  # simplices or vertices per program and iteration
CLEAR_BLOCK = block(1024)  # slots per program and iteration
ROW_WARPS = 2  # of these programs: at most ROW_BLOCK threads, see `insert`


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
        if points.colors or points.feature_extent:
            channels, height, width = points.tensor.shape[1:]
            colors = 3 if points.colors else 0
            features = [points.feature_extent] * (channels - colors)
            self.extents = [255.0] * colors + features + [width - 1.0, height - 1.0] * xy
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
            capacity, sides = self.capacity(groups), self.d + 1
            simplices, corners, vertices = capacity.slots
            row = sides * (8 * maps + 4) + 12  # sums, corners, key and list
            # keys, lists and numbers; neighbours, and values before and after a blur
            lattice = corners * 16 + vertices * 12 + capacity.vertices * (8 * sides + 16 * maps + 4)
            return simplices * row + lattice

        def prepare(window: Window) -> Callable[[Tensor, Tensor, Tensor], None]:
            return Tables(self, window, simplex_of).filter

        return filter_in_passes(self.points, maps, CHANNELS, scratch, prepare, limit, largest)


class Tables:
    """Simplices and vertices of one pass, in hash tables filled on construction.

    Attributes:
        simplex_of: (points,) int32, slot of each point's simplex.
        simplex_list: int32, the occupied slots of the table of simplices.
        corner: (simplex slots, d + 1) int32, numbers of a simplex's vertices.
        neighbors: (d + 1, vertices, 2) int32, number of the neighbour of each vertex one step up
            and down each axis, -1 without one.
        counters: (3,) int32: simplices, corners, vertices added by the ring.
    """

    def __init__(self, lattice: TritonLattice, window: Window, simplex_of: Tensor) -> None:
        self.lattice, self.simplex_of = lattice, simplex_of
        self.invalid_groups, self.bound = window.invalid_groups, window.bound
        self.range = (window.first, window.last)
        device, sides = window.invalid_groups.device, lattice.d + 1
        capacity = lattice.capacity(window.groups)
        self.slots, self.vertices = capacity.slots, capacity.vertices
        if max(self.slots) >= 2**31:
            raise ValueError("too many points for method 'permutohedral': filter fewer at a time")

        def integers(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.int32, device=device)

        self.simplex_list, self.corner = integers(self.slots[0]), integers(self.slots[0], sides)
        self.neighbors = integers(sides, self.vertices, 2)
        self.counters = torch.zeros(3, dtype=torch.int32, device=device)
        self.programs = (persistent_programs(device),)
        self._insert_simplices(torch.full((self.slots[0],), -1, dtype=torch.int64, device=device))

    def _insert_simplices(self, simplices: Tensor) -> None:
        """Fill the table of simplices, int64 keys by slot, and from it all others."""
        lattice, points = self.lattice, self.lattice.points
        insert_simplices[self._blocks()](
            points.tensor, points.group, self.simplex_of,
            simplices, self.simplex_list, self.counters, self.invalid_groups,
            points.count, *points.plane, *points.tensor.stride(),
            *self._factors(), *self.range, points.num_groups, self.slots[0],
            D=lattice.d, BITS=lattice.bits, XY=lattice.xy, COLORS=points.colors, BLOCK=BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip
        corners = torch.empty(self.slots[1], dtype=torch.int64, device=simplices.device)
        listed, number_of = (torch.empty_like(corners, dtype=torch.int32) for _ in range(2))
        sides, most = lattice.d + 1, self.slots[1]
        shape = {"D": lattice.d, "BITS": lattice.bits, "BLOCK": ROW_BLOCK, "num_warps": ROW_WARPS}
        clear_slots[self.programs](
            corners, self.counters, most, SOURCE=0, ENTRIES=sides, BLOCK=CLEAR_BLOCK
        )
        insert_corners[self.programs](
            simplices, self.simplex_list, corners, listed, self.corner, self.counters, most,
            **shape, maxnreg=64,
        )  # fmt: skip
        self._insert_vertices(corners, listed, number_of, shape)

    def _insert_vertices(
        self, corners: Tensor, listed: Tensor, number_of: Tensor, shape: dict[str, int]
    ) -> None:
        """Number the corners and their ring, and find the neighbours of each vertex."""
        sides, most, capacity = self.lattice.d + 1, self.slots[2], self.vertices
        vertices = torch.empty(most, dtype=torch.int64, device=corners.device)
        number_in = torch.empty_like(vertices, dtype=torch.int32)
        slot_of = torch.empty(capacity, dtype=torch.int32, device=corners.device)
        entries = {"ENTRIES": 1 + 2 * sides if self.lattice.ring else 1}
        rows = {"BLOCK": ROW_BLOCK, "num_warps": ROW_WARPS}
        around = ceil_div(self.programs[0], sides)
        clear_slots[self.programs](
            vertices, self.counters, most, SOURCE=1, **entries, BLOCK=CLEAR_BLOCK
        )
        number_corners[self.programs](
            corners, listed, number_of, vertices, slot_of, number_in, self.counters, most,
            **entries, **rows,
        )  # fmt: skip
        corners_by_number[self.programs](
            self.simplex_list, self.corner, number_of, self.counters, SIDES=sides, **rows
        )
        if self.lattice.ring:
            insert_ring[around, 2 * sides](
                vertices, slot_of, number_in, self.counters, most, **entries, **shape
            )
        clear_neighbors[around, sides](self.neighbors, self.counters, capacity, BLOCK=CLEAR_BLOCK)
        find_neighbors[around, sides](
            vertices, slot_of, number_in, self.neighbors, self.counters, most, capacity,
            **entries, **shape,
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
            torch.empty(self.vertices, 2 * count, dtype=torch.float32, device=maps.device)
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
        """Sum maps per simplex and corner, then per vertex; values (vertices, K) int64."""
        points, pixels = self.lattice.points, self._pixels(maps.shape[1])
        rows = {"MAPS": maps.shape[1], "BLOCK": ROW_BLOCK, "num_warps": ROW_WARPS}
        clear[self.programs](
            self.simplex_list, sums, values, self.counters,
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
        d = self.lattice.d
        rows = {"MAPS": before.shape[1] // 2, "BLOCK": ROW_BLOCK, "num_warps": ROW_WARPS}
        for axis in range(d + 1):
            blur[self.programs](
                self.neighbors, before.view(torch.int64) if axis == 0 else before, after,
                self.counters, axis, d - axis, self.vertices, self.lattice.stencil.neighbor,
                FIRST=axis == 0, **rows,
            )  # fmt: skip
            before, after = after, before
        return before

    def _slice(self, values: Tensor, rows: Tensor, units: Tensor, out: Tensor) -> None:
        """Read values of the vertices into rows of simplices, and from these into pixels."""
        lattice, points, count = self.lattice, self.lattice.points, out.shape[1]
        distribute[self.programs](
            self.simplex_list, self.corner, values, rows, self.counters,
            D=lattice.d, MAPS=count, BLOCK=ROW_BLOCK, num_warps=ROW_WARPS,
        )  # fmt: skip
        slice_pixels[self._blocks()](
            points.tensor, points.group, self.simplex_of, rows, self.invalid_groups, units, out,
            points.count, *points.plane, *points.tensor.stride(),
            out.stride(0), out.stride(1), 1, *self._factors(), *self.range,
            points.num_groups, 0.5 * lattice.stencil.amplitude, **self._pixels(count),
        )  # fmt: skip
