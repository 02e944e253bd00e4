"""Registers, spills and shared memory of the Triton kernels, compiled without a GPU.

    python bench/compile_report.py [--arch 80 90 100] [--json FILE] [--sass]

Calls the Triton backend on tensors of the device "meta"; every kernel that it launches is compiled
instead of run. Exit status 1 if a kernel spills, or if a compare-and-swap has fewer keys than
threads.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)  # read on import; the interpreter does not compile

import torch
from rich.console import Console
from rich.progress import Progress

from lib.arguments import make_parser
from lib.compiled_kernels import Row, can_compile_for, compile_launches, measure
from lib.machine import describe
from lib.markdown_table import table_of_cells
from lib.result_files import check_writable, write_json

from colocam.kernels import backend_triton, energy_triton
from colocam.kernels.color_grid.energy_triton import EnergyOnNodes
from colocam.kernels.seeds import sampling_triton
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

ARCHITECTURES = (80, 90, 100)
REGISTERS = (24, 255)  # valid limits of registers per thread
FRAMES, SIDE, LENGTH = 8, 224, 4  # a batch filtered in one pass; frames per sequence
MANY = 32  # frames filtered in several passes, or as one large group
ODD = (19, 201, 3)  # height, width and groups that are not multiples of a vector width


def energy(
    method: str,
    maps: int,
    sigma_rgb: float = 15.0,
    sigma_xy: float | None = None,
    form: str = "association",
    dtype: torch.dtype = torch.uint8,
    frames: int = FRAMES,
) -> None:
    """Calls the energy: joint over sequences, or spatial over frames if sigma_xy is given."""
    groups = frames // LENGTH if sigma_xy is None else frames
    images = torch.empty(frames, 3, SIDE, SIDE, dtype=dtype, device="meta")
    probs = torch.empty(frames, maps, SIDE, SIDE, device="meta")
    group = torch.empty(frames, dtype=torch.int64, device="meta")
    backend_triton.energy_and_half_grad(
        images, probs, group, groups, sigma_rgb, sigma_xy, form, method
    )


def joint_energy(
    form: str = "association",
    layout: tuple[int, int, int] = (SIDE, SIDE, FRAMES // LENGTH),
    frames: int = FRAMES,
) -> None:
    """Calls the energy of two maps on colour alone, and its gradient; images channels-last."""
    height, width, groups = layout
    images = torch.empty(frames, height, width, 3, dtype=torch.uint8, device="meta")
    probs = torch.empty(frames, 2, height, width, device="meta")
    group = torch.empty(frames, dtype=torch.int64, device="meta")
    on_nodes = EnergyOnNodes(images.permute(0, 3, 1, 2), group, groups, 15.0, form)
    energy, *kept = on_nodes.forward(probs)
    on_nodes.gradient(energy, *kept)


def odd_energy(method: str, sigma_xy: float | None = None) -> None:
    """Calls the energy on unaligned tensors: odd size, images channels-last in memory."""
    height, width, groups = ODD
    images = torch.empty(groups, height, width, 3, dtype=torch.uint8, device="meta")
    probs = torch.empty(groups, 2, height, width, device="meta")
    group = torch.empty(groups, dtype=torch.int64, device="meta")
    images = images.permute(0, 3, 1, 2)
    backend_triton.energy_and_half_grad(
        images, probs, group, groups, 15.0, sigma_xy, "association", method
    )


def features(method: str, d: int) -> None:
    """Calls the filter on features; on the CPU for the grid, which reads their range."""
    device = "cpu" if method == "grid" else "meta"
    values, points = (torch.zeros(SIDE * SIDE, n, device=device) for n in (2, d))
    group = torch.zeros(len(values), dtype=torch.int64, device=device)
    backend_triton.filtered_values(values, points, group, 1, method)


def seeds(scheme: str, region: str, box: bool, images: int = FRAMES) -> None:
    """Launches the kernels of the seeds."""
    cams = torch.empty(images, SIDE, SIDE, device="meta")
    noise = torch.empty(2, images, SIDE, SIDE, device="meta")
    sampling_triton.launch_seeds(cams, noise, scheme, 1000, 0.3, 0.3, region, box)


def regions() -> None:
    """Launches the kernels of connected regions."""
    sampling_triton.connected_regions(
        torch.empty(FRAMES, SIDE, SIDE, dtype=torch.bool, device="meta")
    )


def gradient() -> None:
    """Launches the backward pass of the energy."""
    half_grad = torch.empty(FRAMES, 2, SIDE, SIDE, device="meta")
    group = torch.empty(FRAMES, dtype=torch.int64, device="meta")
    energy_triton.scaled_half_grad(half_grad, torch.empty(2, device="meta"), group)


LATTICE, PUBLISHED, XY = "permutohedral", "permutohedral-published", 100.0
CASES: dict[str, Callable[[], None]] = {
    "grid K=2": partial(energy, "grid", 2),
    "grid K=2 cut": partial(energy, "grid", 2, form="cut"),
    "grid K=3": partial(energy, "grid", 3),
    "grid K=3 cut": partial(energy, "grid", 3, form="cut"),
    "grid K=2 odd": partial(odd_energy, "grid"),
    "grid K=2 sigma=4": partial(energy, "grid", 2, 4.0),
    "grid K=2 sigma=30": partial(energy, "grid", 2, 30.0),
    "joint": joint_energy,
    "joint cut": partial(joint_energy, form="cut"),
    "joint odd": partial(joint_energy, layout=ODD),
    "joint one group": partial(joint_energy, layout=(SIDE, SIDE, 1), frames=MANY),
    "grid K=2 float": partial(energy, "grid", 2, dtype=torch.float32),
    "grid features": partial(features, "grid", 3),
    "lattice d=3 K=2": partial(energy, LATTICE, 2),
    "lattice d=3 K=3": partial(energy, LATTICE, 3),
    "lattice d=5 K=2": partial(energy, LATTICE, 2, sigma_xy=XY),
    "lattice d=5 K=2 odd": partial(odd_energy, LATTICE, XY),
    "lattice d=5 K=2 passes": partial(energy, LATTICE, 2, sigma_xy=XY, frames=MANY),
    "lattice d=5 K=2 float": partial(energy, LATTICE, 2, sigma_xy=XY, dtype=torch.float32),
    "lattice d=5 K=4": partial(energy, LATTICE, 4, sigma_xy=XY),
    "lattice d=5 K=4 cut": partial(energy, LATTICE, 4, sigma_xy=XY, form="cut"),
    "published d=3 K=2": partial(energy, PUBLISHED, 2),
    "published d=5 K=2": partial(energy, PUBLISHED, 2, sigma_xy=XY),
    "backward": gradient,
    "seeds": partial(seeds, "published", "largest", True),
    "seeds none": partial(seeds, "published", "none", False),
    "seeds text": partial(seeds, "text", "largest", True),
    "seeds of one image": partial(seeds, "published", "largest", True, images=1),
    "regions": regions,
    **{f"lattice features d={d}": partial(features, LATTICE, d) for d in range(1, 6)},
}


def table(rows: list[Row]) -> list[str]:
    """Markdown table; several specializations of a kernel in one case are numbered."""
    heads = (
        "sm", "kernel", "case", "registers", "shared B", "stack B", "spill stores B",
        "spill loads B", "instructions", "warps",
    )  # fmt: skip
    cells = []
    for row, name in zip(rows, labels(rows), strict=True):
        more = f" (+{len(row.cases) - 1})" if len(row.cases) > 1 else ""
        cells.append((
            row.arch, name, row.cases[0] + more, row.registers, row.shared, row.stack,
            row.spill_stores, row.spill_loads, row.instructions, row.warps,
        ))  # fmt: skip
    return table_of_cells(heads, cells)


def labels(rows: list[Row]) -> list[str]:
    """Names of kernels, numbered from the second specialization in a case on."""
    seen: Counter[tuple[int, str, str]] = Counter()
    names = []
    for row in rows:
        key = (row.arch, row.kernel, row.cases[0])
        seen[key] += 1
        names.append(row.kernel if seen[key] == 1 else f"{row.kernel} #{seen[key]}")
    return names


def opcode_lines(rows: list[Row]) -> list[str]:
    """Opcodes, one line per kernel."""
    return [
        f"sm_{row.arch} {name}, {row.cases[0]}: "
        + ", ".join(f"{count} {opcode}" for opcode, count in (row.opcodes or {}).items())
        for row, name in zip(rows, labels(rows), strict=True)
    ]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--arch",
        type=int,
        nargs="+",
        default=list(ARCHITECTURES),
        help=f"90 for sm_90, ... (default: {' '.join(map(str, ARCHITECTURES))})",
    )
    add("--cases", nargs="+", metavar="TEXT", help="only cases whose name contains one of these")
    add("--max-registers", type=int, metavar="N", help="limit of registers per thread")
    add("--sass", action="store_true", help="count instructions that access memory or synchronize")
    add("--json", type=Path, metavar="FILE", help="result file (default: none)")
    options = parser.parse_args(argv)
    for arch in options.arch:
        if not can_compile_for(arch):
            raise UserError(f"--arch {arch}: this Triton does not compile for it; give e.g. 90")
    low, high = REGISTERS
    if options.max_registers is not None and not low <= options.max_registers <= high:
        raise UserError(f"--max-registers {options.max_registers}: must be within {low}...{high}")
    texts = options.cases or [""]
    options.cases = {n: call for n, call in CASES.items() if any(text in n for text in texts)}
    if not options.cases:
        raise UserError(f"--cases {' '.join(texts)}: no such case; choose from {', '.join(CASES)}")
    if options.json is not None:
        check_writable(options.json)
    return options


def _run(options: argparse.Namespace) -> bool:
    """Prints and writes the report; returns whether a kernel spills or is crowded."""
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for arch in dict.fromkeys(options.arch):
            bar = progress.add_task(f"sm_{arch}", total=len(options.cases))
            done = partial(progress.advance, bar)
            compiled = compile_launches(arch, options.cases, options.max_registers, done)
            rows += [measure(*item, arch, options.sass) for item in compiled.items()]
    spilling = sum(row.spills for row in rows)
    crowded = sorted({row.kernel for row in rows if row.crowded})
    print("\n".join(table(rows)))
    if options.sass:
        print("\n".join(["", *opcode_lines(rows)]))
    print(f"\n{spilling or 'None'} of {len(rows)} compiled kernels spill.")
    if crowded:
        print(f"Compare-and-swap with fewer keys than threads: {', '.join(crowded)}.")
    if options.json is not None:
        result = {
            "machine": describe(),
            "max_registers": options.max_registers,
            "spilling": spilling,
            "kernels": [asdict(row) for row in rows],
        }
        write_json(options.json, result, default=str)
    return spilling > 0 or bool(crowded)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: int(_run(_parse(argv))))


if __name__ == "__main__":
    sys.exit(main())
