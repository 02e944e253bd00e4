"""Launch configuration of the Triton kernels: input points, block sizes, passes over groups."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

INTERPRETED = triton.knobs.runtime.interpret  # programs run in sequence, op by op, on the CPU
SCRATCH_BYTES = 832 * 2**20  # scratch memory of a pass, besides input and output: lower bound
SCRATCH_SHARE = 16  # on a GPU at least 1/16 of its memory
MOST_POINTS = 2**30  # kernels index points, rounded up to whole blocks, in int32
ALIGNED = 32  # elements: tensors in one buffer begin where caches have a line
PROGRAMS_PER_PROCESSOR = 8  # of kernels that loop over lists whose length is on the device only
WINDOW = ("first", "last", "start")  # differ between passes: kernels do not specialize on them
ANY = 2**62  # the first and the last pass include points whose group does not exist


@dataclass(frozen=True)
class Points:
    """The points of a filter, read in place.

    Attributes:
        tensor: (F, C, H, W) uint8 or float32, any strides; every pixel of every frame is a point.
        group: (F,) int64.
        num_groups: G.
        colors: whether the first three channels are colours, which must be within 0...255.
        feature_extent: the other channels are from 0 to this value; 0: anything.
    """

    tensor: Tensor
    group: Tensor
    num_groups: int
    colors: bool
    feature_extent: float = 0.0

    @property
    def count(self) -> int:
        """Number of points."""
        frames, _, height, width = self.tensor.shape
        return frames * height * width

    @property
    def plane(self) -> tuple[int, int]:
        """Pixels per frame, and pixels per row."""
        return self.tensor.shape[2] * self.tensor.shape[3], self.tensor.shape[3]


@dataclass(frozen=True)
class Window:
    """The groups of one pass.

    Attributes:
        first, last: the pass filters groups first <= g < last; in the first and the last pass this
            range includes ids of groups that do not exist.
        start: first existing group of the pass.
        groups: number of existing groups.
        invalid_groups: (num_groups + 1,) int32, shared by all passes: 1 where a group has invalid
            points; the last entry is 1 if some group does not exist, which makes all results NaN.
        bound: of the addends of sums over points, see `fixed_point`.
    """

    first: int
    last: int
    start: int
    groups: int
    invalid_groups: Tensor
    bound: float


def filter_in_passes(
    points: Points,
    maps: Tensor,
    channels: int,
    scratch: Callable[[int, int], int],
    prepare: Callable[[Window], Callable[[Tensor, Tensor, Tensor], None]],
    limit: int | None = None,
    largest: float | None = None,
) -> Tensor:
    """Filter maps, with as many groups and channels per pass as fit into scratch memory.

    Args:
        points: the points whose values the maps are.
        maps: (F, K, H, W) float32, any strides.
        channels: largest number of maps filtered at once.
        scratch: bytes needed for a number of groups and a number of maps.
        prepare: builds the tables of a pass; returns the filter (maps, units, out) of that pass.
        limit: bytes per pass; None: `scratch_bytes`.
        largest: largest absolute value of the maps; None: that of each map is found on the device.
            Groups with values that are not finite, or far above it, are flagged as invalid.

    Returns:
        (F, K, H, W) float32, contiguous; NaN in groups that were flagged.

    Raises:
        ValueError: there are more than MOST_POINTS points.
    """
    if points.count > MOST_POINTS:
        raise ValueError(f"{points.count} pixels or points: filter fewer than 2**30 at a time")
    out = torch.empty(maps.shape, dtype=torch.float32, device=maps.device)
    if out.numel() == 0:
        return out
    channels = min(maps.shape[1], channels)
    limit = scratch_bytes(maps.device) if limit is None else limit
    at_once = total = points.num_groups
    passes = 1
    while at_once > 1 and scratch(at_once, channels) > limit:
        passes += 1
        at_once = ceil_div(total, passes)
    units, bound = fixed_point(points.count, maps, largest)
    parts = [tensor.split(channels, dim) for tensor, dim in ((maps, 1), (units, 0), (out, 1))]
    invalid_groups = torch.zeros(total + 1, dtype=torch.int32, device=maps.device)
    for start in range(0, total, at_once):
        stop = min(start + at_once, total)
        first, last = (start or -ANY), (ANY if stop == total else stop)
        run = prepare(Window(first, last, start, stop - start, invalid_groups, bound))
        for part in zip(*parts, strict=True):
            run(*part)
    if maps.shape[1] > channels:  # a later part may have flagged a group
        flagged = invalid_groups[points.group.clamp(0, total - 1)] > 0
        out.masked_fill_(flagged.view(-1, 1, 1, 1), float("nan"))
    if at_once < total:  # the last pass may have flagged a group that does not exist
        out.masked_fill_(invalid_groups[-1] > 0, float("nan"))
    return out


def fixed_point(points: int, maps: Tensor, largest: float | None = None) -> tuple[Tensor, float]:
    """Units of sums over points in fixed point: a value is added as int64 of value · unit.

    Args:
        points: number of addends of a sum, at most.
        maps: (F, K, H, W) float32, the values.
        largest: largest absolute value of the maps; None: that of each map is found on the device,
            without values that are not finite.

    Returns:
        (K,) float32 units, powers of two; and the bound of an addend, which is two to four times
        the largest value times its unit. A sum of addends within the bound has at most 62 bits.
    """
    bits = 60 - (points - 1).bit_length()
    if largest is not None:
        unit = fixed_unit(points, largest)
        units = torch.full((maps.shape[1],), unit, dtype=torch.float32, device=maps.device)
    else:
        magnitudes = maps.detach().float().abs().nan_to_num(0.0, 0.0, 0.0).amax((0, 2, 3))
        exponents = bits - torch.frexp(magnitudes).exponent.clamp_min(bits - 126)
        # 2**n by its bits as float32: torch.ldexp computes a power, which may be inexact.
        units = ((exponents + 127) << 23).to(torch.int32).view(torch.float32)
    return units, 2.0 ** (bits + 1)


def fixed_unit(points: int, largest: float) -> float:
    """Unit of `fixed_point` for values up to `largest`."""
    bits = 60 - (points - 1).bit_length()
    return float(2.0 ** min(126, bits - math.frexp(largest)[1]))


def zeros(sizes: Sequence[int], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Tensors of zeros, (size,) each, in one buffer: one fill."""
    return parts_of(torch.zeros(sum(map(padded, sizes)), dtype=dtype, device=device), sizes)


def parts_of(buffer: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Tensors (size,) within a buffer of `padded` sizes."""
    parts = buffer.split([padded(size) for size in sizes])
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]


def padded(size: int) -> int:
    """Elements that a part of a buffer takes."""
    return ALIGNED * ceil_div(size, ALIGNED)


def ceil_div(a: int, b: int) -> int:
    """The smallest integer that is at least a / b."""
    return -(-a // b)


def block(size: int) -> int:
    """Block size of a kernel: `size` on a GPU, 32 times that in the interpreter."""
    return 32 * size if INTERPRETED else size


@functools.lru_cache(maxsize=16)
def scratch_bytes(device: torch.device) -> int:
    """Scratch memory of one pass in bytes, besides input and output.

    A fixed share of a GPU's memory: tables are allocated at their upper bound, and every pass
    reads all points again.
    """
    if device.type != "cuda":
        return SCRATCH_BYTES
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(SCRATCH_BYTES, memory // SCRATCH_SHARE)


@functools.lru_cache(maxsize=16)
def persistent_programs(device: torch.device) -> int:
    """Number of programs of a kernel that loops over a list."""
    if device.type != "cuda":
        return 2  # the interpreter runs them in sequence
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return processors * PROGRAMS_PER_PROCESSOR
