"""Time of the CRF kernels on paper: bytes, sectors and launches counted on real frames.

    python bench/kernel_estimate.py [--video FILE …] [--frames 64] [--results DIR]

Nothing runs on a GPU. What the kernels meet is counted on the frames (cells, simplices, vertices);
what each kernel then moves follows from its code. Assumed, not measured: sectors of 32 bytes that
are touched in no order arrive at 100 billion per second from the L2 cache, and at 40 % of the
memory bandwidth if they do not fit into it; a launch in a CUDA graph takes 2 µs at least.
Features are those of the preset `real-cpu`, whose encoder the extra `lite` brings.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lib.arguments import SIDE, check_at_least, make_parser
from lib.frames import load_frames
from lib.machine import describe
from lib.markdown_table import page, table_of_cells
from lib.result_files import RESULTS, write_results

from colocam.kernels.color_grid.geometry import LEVELS, spacing_for_levels
from colocam.kernels.color_grid.grid_triton import COPIES, MANY
from colocam.kernels.permutohedral.geometry import STENCILS, axis_factors
from colocam.kernels.permutohedral.lattice_torch import PermutohedralLattice, locate
from colocam.losses.principal_features import LARGEST, principal_features
from colocam.models.localizer import Localizer
from colocam.runtime.entry import exit_status
from colocam.training.config import Config

SIGMA_RGB, SIGMA_XY, MAPS = 15.0, 100.0, 2
BATCH, LENGTH = 32, 4  # frames of a training batch, and of a sequence
CACHE = {"H100": 50e6, "H200": 60e6}  # bytes of L2
BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}  # bytes per second, of the data sheets
SECTORS, LAUNCH = 100e9, 2e-6


@dataclass
class Estimate:
    """A term, forward and backward, kernel by kernel.

    Attributes:
        title: the term, and the frames.
        pixels: P.
        kernels: name, launches, and seconds on each GPU.
    """

    title: str
    pixels: int
    kernels: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)

    def add(
        self, name: str, streamed: float, sectors: float = 0, spread: float = 0, launches: int = 1
    ) -> None:
        """Adds a kernel.

        Args:
            name: of the kernel.
            streamed: bytes read and written in order.
            sectors: touched in no order, within a region of `spread` bytes.
            spread: bytes.
            launches: of the kernel.
        """
        seconds = {}
        for gpu, bandwidth in BANDWIDTH.items():
            scattered = sectors / SECTORS
            if spread > CACHE[gpu]:
                scattered = max(scattered, 64 * sectors / (0.4 * bandwidth))
            seconds[gpu] = max(launches * LAUNCH, streamed / bandwidth + scattered)
        self.kernels.append((name, launches, seconds))

    def total(self, gpu: str) -> float:
        """Seconds of all kernels."""
        return sum(seconds[gpu] for _, _, seconds in self.kernels)

    @property
    def launches(self) -> int:
        """Launches of all kernels."""
        return sum(count for _, count, _ in self.kernels)


def grid_estimate(title: str, images: Tensor, groups: int) -> Estimate:
    """Joint term by the colour grid; images (B, 3, H, W) uint8 in groups of equal length."""
    spacing = spacing_for_levels(SIGMA_RGB)
    side = int(spacing.step)
    cells = -(-LEVELS // side)
    group = (torch.arange(len(images)) * groups // len(images)).view(-1, 1, 1)
    images = images.long()
    key = ((group * LEVELS + images[:, 0]) * LEVELS + images[:, 1]) * LEVELS + images[:, 2]
    colors, counts = key.unique(return_counts=True)
    blue, green, red = (colors // LEVELS**axis % LEVELS // side for axis in range(3))
    key = ((colors // LEVELS**3 * cells + red) * cells + green) * cells + blue
    occupied = len(key.unique())
    pixels = images[:, 0].numel()
    copies = COPIES if pixels >= MANY * groups else 1
    table, sums = 4.0 * MAPS * len(colors), 8.0 * MAPS * copies * len(colors)
    words = 8 * 2 ** math.ceil(math.log2(side**3 / 32))  # bytes of a cell
    marks, nodes = groups * cells**3 * words, groups * MAPS * (cells + spacing.degree) ** 3
    of_cells = occupied * MAPS * (4 + words)
    most = f"at most {counts.max()} pixels of a colour"
    one = Estimate(f"{title}: {len(colors)} colours in {occupied} cells, {most}", pixels)
    one.add("fills", marks + 8 * nodes, launches=3)
    one.add("mark_levels", 3 * pixels, pixels / 4, marks)
    one.add("number_levels", marks + words * occupied)
    one.add("clear_sums", sums)
    one.add("sum_levels", 15 * pixels, 1.25 * pixels, sums)
    one.add("cells_to_nodes", sums + of_cells, occupied * 27, 8 * nodes)
    one.add("blur_axis", (12 + 8 + 8) * nodes, launches=3)
    one.add("energy_of_nodes", 12 * nodes)
    one.add("sum_of_groups", 0)
    one.add("ones (of the incoming gradient)", 0)
    one.add("nodes_to_cells", table + of_cells, occupied * 18, 4 * nodes)
    one.add("read_levels", 12 * pixels, pixels, table)
    return one


@dataclass(frozen=True)
class Pixels:
    """Pixels as points of a lattice.

    Attributes:
        features: (d, P) float32.
        sigmas: of the features.
        groups: number of groups, of equally many pixels.
        read: bytes of a pixel that the kernel of the simplices reads.
    """

    features: Tensor
    sigmas: list[float]
    groups: int
    read: int

    @classmethod
    def with_position(cls, images: Tensor) -> "Pixels":
        """Colour and position, a group per frame; images (B, 3, H, W) uint8."""
        frames, _, height, width = images.shape
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        position = torch.stack([x, y]).view(2, 1, -1).expand(2, frames, -1).flatten(1)
        features = torch.cat([images.transpose(0, 1).flatten(1), position]).float()
        return cls(features, [SIGMA_RGB] * 3 + [SIGMA_XY] * 2, frames, 3)

    @classmethod
    def with_features(cls, images: Tensor, groups: int) -> "Pixels":
        """Colour and two principal components, as in the joint term of the presets `real`."""
        config = Config.of_preset("real-cpu", {})
        encoder = Localizer(config.encoder, 1, config.weights).eval().requires_grad_(False)
        maps = [
            encoder.middle_map(encoder.encoder(encoder.encoder.normalized(part)))
            for part in images.split(8)
        ]
        sequence = torch.arange(len(images)) * groups // len(images)
        size, sigma = (images.shape[2], images.shape[3]), config.joint_feature_sigma
        components = principal_features(torch.cat(maps), sequence, groups, size, sigma)
        features = torch.cat([images, components + LARGEST / sigma], 1)
        return cls(features.transpose(0, 1).flatten(1), [SIGMA_RGB] * 3 + [1.0] * 2, groups, 20)

    def counts(self) -> tuple[int, int, int]:
        """Simplices, corners, and vertices with the ring."""
        stencil, pixels = STENCILS[5], self.features.shape[1]
        group = torch.arange(pixels) // (pixels // self.groups)
        factors = axis_factors(self.sigmas, stencil.scale)
        simplex, _, keys = locate(self.features, group, self.groups, factors, stencil)
        distinct = simplex.unique()
        corners = len(keys.vertices(distinct).unique())
        lattice = PermutohedralLattice(
            self.features, group, self.groups, sigmas=self.sigmas, stencil=stencil
        )
        return len(distinct), corners, lattice.count


def lattice_estimate(title: str, points: Pixels) -> Estimate:
    """A term by the lattice of five dimensions."""
    simplices, corners, vertices = points.counts()
    pixels, sides = points.features.shape[1], 6
    row = 8.0 * sides * MAPS  # of a simplex
    corner_slots, vertex_slots = simplices * sides * 4 / 3, corners * (1 + 2 * sides) * 4 / 3
    values, keys = 8.0 * MAPS * vertices, 12.0 * vertex_slots
    counts = f"{simplices} simplices, {corners} corners, {vertices} vertices"
    one = Estimate(f"{title}: {counts}", pixels)
    if points.read > 3:
        one.add("colours and features in one tensor", 3 * pixels + 52 * pixels, launches=3)
    one.add("fills", 17e6 * pixels / (BATCH * SIDE**2), launches=4)
    one.add("insert_simplices", (points.read + 4) * pixels, pixels + simplices, 17e6)
    one.add("clear_slots", 8 * (corner_slots + vertex_slots), launches=2)
    one.add("insert_corners", simplices * (12 + 4 * sides), 1.3 * simplices * sides, 32 * corners)
    one.add("number_corners", 12 * corners, 4 * corners, keys)
    one.add("corners_by_number", simplices * (4 + 8 * sides), simplices * sides, 4 * corner_slots)
    one.add("insert_ring", 12 * corners, 3 * corners * sides, keys)
    one.add("clear_neighbors", 8 * sides * vertices)
    one.add("find_neighbors", 8 * sides * vertices, 2.5 * sides * vertices, keys)
    one.add("clear", simplices * row + values)
    one.add("splat", (points.read + 12) * pixels, pixels * row / 32, simplices * row)
    one.add("collect", simplices * (row + 4 * sides), simplices * sides, values)
    rows = 16 + 16 * MAPS  # bytes of a vertex: neighbours, values of both orders before and after
    one.add("blur", sides * vertices * rows, 3.6 * sides * vertices, 2 * values, sides)
    one.add("distribute", simplices * (row / 2 + 4 * sides), simplices * sides, values)
    one.add("slice_pixels", (points.read + 12) * pixels, pixels * row / 64, simplices * row)
    one.add("half_grad_and_energy", 24 * pixels)
    one.add("sum_parts", 0)
    one.add("ones (of the incoming gradient)", 0)
    one.add("scale_by_group", 16 * pixels)
    return one


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--video", type=Path, nargs="+", metavar="PATH", help="(default: the built-in clip set)")
    add("--frames", type=int, default=64, metavar="N", help="of the joint term (default: 64)")
    add("--size", type=int, default=SIDE, metavar="PIXELS", help=f"(default: {SIDE})")
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="(default: bench/results)")
    options = parser.parse_args(argv)
    check_at_least(options, frames=LENGTH, size=32)
    return options


def _run(options: argparse.Namespace) -> None:
    estimates: list[Estimate] = []
    for video in options.video or [None]:
        found = load_frames(video, options.frames, options.size)
        name = "the built-in clip set" if video is None else video.name
        many, few = found.take(options.frames), found.take(min(BATCH, options.frames))
        groups = max(1, len(few) // LENGTH)
        estimates += [
            grid_estimate(f"joint term, {len(many)} frames of {name}", many, 1),
            grid_estimate(f"joint term, {groups} sequences of {name}", few, groups),
            lattice_estimate(
                f"joint term with features, {groups} sequences of {name}",
                Pixels.with_features(few[: groups * LENGTH], groups),
            ),
            lattice_estimate(
                f"spatial term, {len(few)} frames of {name}", Pixels.with_position(few)
            ),
        ]
    lines = []
    for one in estimates:
        rows = [
            (name, count, *(f"{1e6 * value:.0f}" for value in seconds.values()))
            for name, count, seconds in one.kernels
        ]
        sums = [f"{1e6 * one.total(gpu):.0f}" for gpu in BANDWIDTH]
        floors = [f"{1e6 * 19 * one.pixels / rate:.0f}" for rate in BANDWIDTH.values()]
        rows += [("**sum**", one.launches, *sums), ("floor: 19 bytes a pixel", "", *floors)]
        heads = ("kernel", "launches", *(f"{gpu}, µs" for gpu in BANDWIDTH))
        lines += [f"**{one.title}**", "", *table_of_cells(heads, rows), ""]
    machine = describe()
    result = {
        "machine": machine,
        "terms": [
            {"title": one.title, "launches": one.launches, "kernels": [
                {"kernel": name, "launches": count, "seconds": seconds}
                for name, count, seconds in one.kernels
            ]}
            for one in estimates
        ],
    }  # fmt: skip
    heading = f"Counted at commit {str(machine['commit'])[:7]}; no GPU was used."
    notes = [" ".join((__doc__ or "").split("\n\n")[2].split())]
    write_results(
        options.results / "kernel_estimate.json", result, page(heading, lines, notes), ".md"
    )


if __name__ == "__main__":
    sys.exit(main())
