"""Registers, spills and shared memory of the Triton kernels, compiled without a GPU.

    python bench/compile_report.py [--arch 80 90 100] [--json FILE] [--sass]

Calls the Triton backend on tensors of the device "meta"; every kernel that it launches is compiled
instead of run. Exit status 1 if a kernel spills, or if a compare-and-swap has fewer keys than
threads.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from unittest import mock

os.environ.pop("TRITON_INTERPRET", None)  # read on import; the interpreter does not compile

import torch
from rich.console import Console
from rich.progress import Progress
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import CompiledKernel
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from colocam.kernels import backend_triton
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from lib.arguments import make_parser
from lib.machine import describe
from lib.markdown_table import table_of_cells
from lib.result_files import check_writable, write_json

ARCHITECTURES = (80, 90, 100)
OLDEST = 80  # compute capability times ten
REGISTERS = (24, 255)  # valid limits of registers per thread
FRAMES, SIDE, LENGTH = 8, 224, 4  # a batch filtered in one pass; frames per sequence
MANY = 32  # frames filtered in several passes
ODD = (19, 201, 3)  # height, width and groups that are not multiples of a vector width
INSTRUCTION = 16  # bytes, for all supported architectures
COUNTED = {
    *("ATOM", "ATOMG", "ATOMS", "RED", "REDG", "LDG", "LDGSTS", "STG"),
    *("LDS", "LDSM", "STS", "STSM", "LDL", "STL", "BAR", "CALL"),
}


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
    backend_triton.energy_and_pull(images, probs, group, groups, sigma_rgb, sigma_xy, form, method)


def odd_energy(method: str, sigma_xy: float | None = None) -> None:
    """Calls the energy on unaligned tensors: odd size, images channels-last in memory."""
    height, width, groups = ODD
    images = torch.empty(groups, height, width, 3, dtype=torch.uint8, device="meta")
    probs = torch.empty(groups, 2, height, width, device="meta")
    group = torch.empty(groups, dtype=torch.int64, device="meta")
    images = images.permute(0, 3, 1, 2)
    backend_triton.energy_and_pull(
        images, probs, group, groups, 15.0, sigma_xy, "association", method
    )


def features(method: str, d: int) -> None:
    """Calls the filter on features; on the CPU for the grid, which reads their range."""
    device = "cpu" if method == "grid" else "meta"
    values, points = (torch.zeros(SIDE * SIDE, n, device=device) for n in (2, d))
    group = torch.zeros(len(values), dtype=torch.int64, device=device)
    backend_triton.filtered_values(values, points, group, 1, method)


LATTICE, PUBLISHED, XY = "permutohedral", "permutohedral-published", 100.0
CASES: dict[str, Callable[[], None]] = {
    "grid K=2": partial(energy, "grid", 2),
    "grid K=2 cut": partial(energy, "grid", 2, form="cut"),
    "grid K=3": partial(energy, "grid", 3),
    "grid K=3 cut": partial(energy, "grid", 3, form="cut"),
    "grid K=2 odd": partial(odd_energy, "grid"),
    "grid K=2 sigma=4": partial(energy, "grid", 2, 4.0),
    "grid K=2 sigma=30": partial(energy, "grid", 2, 30.0),
    "grid K=2 passes": partial(energy, "grid", 2, frames=MANY),
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
    **{f"lattice features d={d}": partial(features, LATTICE, d) for d in range(1, 6)},
}


@dataclass(frozen=True)
class Row:
    """A compiled specialization of a kernel.

    Attributes:
        arch: compute capability times ten.
        kernel: name.
        cases: that launch it.
        registers: per thread.
        shared: bytes of shared memory per program.
        stack: bytes of local memory per thread, used or not.
        spill_stores, spill_loads: bytes of local memory written and read by the instructions of a
            thread, each counted once; like `ptxas -v`, except for registers saved by calls.
        instructions: including padding to 128 bytes.
        warps: per program.
        crowded: whether a compare-and-swap has fewer keys than threads; two threads with the same
            key may then read different values (`kernels/permutohedral/hash_table_triton.py`).
        arguments: types, or values that are compiled in.
        opcodes: counts of opcodes that access memory, synchronize or call; None without --sass.
    """

    arch: int
    kernel: str
    cases: list[str]
    registers: int
    shared: int
    stack: int
    spill_stores: int
    spill_loads: int
    instructions: int
    warps: int
    crowded: bool
    arguments: dict[str, object]
    opcodes: dict[str, int] | None

    @property
    def spills(self) -> bool:
        """Whether registers are spilled to local memory."""
        return self.spill_stores + self.spill_loads > 0


class AbsentGpu:
    """Driver for Triton that reports a compilation target and no GPU."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_target(self) -> GPUTarget:
        """NVIDIA GPU of the architecture."""
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        """One number per architecture, the key of Triton's cache of compiled kernels."""
        return self.arch

    def get_current_stream(self, device: int) -> int:
        """Unused."""
        return 0


def compile_launches(
    arch: int,
    cases: dict[str, Callable[[], None]],
    max_registers: int | None,
    done: Callable[[], None],
) -> dict[CompiledKernel, list[str]]:
    """Compiles all kernels that the cases launch, once per specialization.

    Types, constants and alignment are derived by Triton as on a GPU; only the launch is suppressed.

    Args:
        arch: compute capability times ten.
        cases: calls by name.
        max_registers: limit per thread; None: that of the architecture.
        done: called after each case.

    Returns:
        kernels, with the names of the cases that launch them.
    """
    compiled: dict[CompiledKernel, list[str]] = {}
    launched: list[CompiledKernel] = []
    run = JITFunction.run

    def compile_only(self: JITFunction, *args: object, warmup: bool, **options: object) -> None:
        if max_registers:
            options["maxnreg"] = max_registers
        launched.append(run(self, *args, warmup=True, **options))

    driver.set_active(AbsentGpu(arch))
    with mock.patch.object(JITFunction, "run", compile_only):
        for name, call in cases.items():
            launched.clear()
            call()
            for kernel in dict.fromkeys(launched):
                compiled.setdefault(kernel, []).append(name)
            done()
    return compiled


def measure(compiled: CompiledKernel, cases: list[str], arch: int, sass: bool) -> Row:
    """Reads resources and instructions from the machine code of a kernel."""
    name, metadata = compiled.metadata.name, compiled.metadata
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        dump = output(knobs.nvidia.cuobjdump.path, "--dump-resource-usage", "-elf", str(cubin))
        registers, stack = find(rf"Function {name}:\s+REG:(\d+) STACK:(\d+) ", dump)
        (size,) = find(rf"^\s*\w+\s+\w+\s+(\w+)\s.*PROGBITS.*\s\.text\.{name}$", dump)
        # without a stack nothing is spilled; disassembling is as slow as compiling
        opcodes = disassemble(cubin) if sass or int(stack) else Counter()
    names = list(compiled.src.signature)
    constants = {names[path[0]]: value for path, value in compiled.src.constants.items()}
    return Row(
        arch=arch,
        kernel=name,
        cases=cases,
        registers=int(registers),
        shared=metadata.shared,
        stack=int(stack),
        spill_stores=local_bytes("STL", opcodes),
        spill_loads=local_bytes("LDL", opcodes),
        instructions=int(size, 16) // INSTRUCTION,
        warps=metadata.num_warps,
        crowded=is_crowded(compiled.asm["ttgir"], metadata.num_warps),
        arguments={**compiled.src.signature, **constants},
        opcodes=counted(opcodes) if sass else None,
    )


def is_crowded(code: str, warps: int) -> bool:
    """Whether a compare-and-swap in Triton's intermediate code has fewer keys than threads."""
    keys = re.findall(r"tt\.atomic_cas .*-> tensor<(\d+)xi64,", code)
    if len(keys) != code.count("tt.atomic_cas "):
        raise RuntimeError("unknown format of the intermediate code of this Triton")
    return any(int(count) < 32 * warps for count in keys)


def disassemble(cubin: Path) -> Counter[str]:
    """Counts opcodes, with modifiers."""
    text = output(knobs.nvidia.nvdisasm.path, "-c", str(cubin))
    return Counter(re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", text, re.M))


def local_bytes(opcode: str, opcodes: Counter[str]) -> int:
    """Bytes moved by local loads or stores: 8 by STL.64, one by STL.U8, 4 by STL."""
    total = 0
    for name, count in opcodes.items():
        if name.split(".")[0] == opcode:
            width = re.search(r"\.[US]?(8|16|64|128)\b", name)
            total += count * int(width[1] if width else 32) // 8
    return total


def counted(opcodes: Counter[str]) -> dict[str, int]:
    """Counts of opcodes that access memory, synchronize or call."""
    return {name: opcodes[name] for name in sorted(opcodes) if name.split(".")[0] in COUNTED}


def output(*command: str) -> str:
    """Output of a tool shipped with Triton."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def find(pattern: str, text: str) -> tuple[str, ...]:
    """Groups of the first match of a pattern, which must exist."""
    match = re.search(pattern, text, re.M)
    if match is None:
        raise RuntimeError(f"unknown output of the tools of this Triton: no match for {pattern!r}")
    return match.groups()


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


@cache
def can_compile_for(arch: int) -> bool:
    """Whether the assembler of Triton supports the architecture and Triton's kernels run on it."""
    return arch >= OLDEST and f"'sm_{arch}'" in output(get_ptxas(arch).path, "--help")


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
