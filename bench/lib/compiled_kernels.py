"""Triton kernels compiled without a GPU: launches, resources, and opcodes of the machine code.

TRITON_INTERPRET must not be set when this module is imported.
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import CompiledKernel
from triton.runtime import driver
from triton.runtime.jit import JITFunction

OLDEST = 80  # compute capability times ten
INSTRUCTION = 16  # bytes, for all supported architectures
COUNTED = {
    *("ATOM", "ATOMG", "ATOMS", "RED", "REDG", "LDG", "LDGSTS", "STG"),
    *("LDS", "LDSM", "STS", "STSM", "LDL", "STL", "BAR", "CALL"),
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


@cache
def can_compile_for(arch: int) -> bool:
    """Whether the assembler of Triton supports the architecture and Triton's kernels run on it."""
    return arch >= OLDEST and f"'sm_{arch}'" in output(get_ptxas(arch).path, "--help")


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
