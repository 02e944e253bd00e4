"""Launching: points as the kernels read them, and passes that fit into memory."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

INTERPRETED = triton.knobs.runtime.interpret  # one program after the other, each op on its own
SCRATCH_BYTES = 832 * 2**20  # what one pass may use at least beside input and output
SCRATCH_SHARE = 16  # of a GPU's memory, one part in so many, if that is more
MOST_POINTS = 2**30  # kernels count them in int32, whole blocks of them
PROGRAMS_PER_PROCESSOR = 8  # of kernels that loop over lists whose length the host does not have
WINDOW = ("first", "last", "start")  # of a pass: kernels must not compile anew for each of them
ANY = 2**62  # the first and the last pass also see the points whose group does not exist


@dataclass(frozen=True)
class Points:
    """Points of a filter, read in place.

    Attributes:
        tensor: (F, C, H, W) uint8 or float32, any strides; every pixel of every frame is a point.
        group: (F,) int64.
        num_groups: G.
        colors: whether the channels are colours, which must be within 0...255.
    """

    tensor: Tensor
    group: Tensor
    num_groups: int
    colors: bool

    @property
    def count(self) -> int:
        """Number of points."""
        frames, _, height, width = self.tensor.shape
        return frames * height * width

    @property
    def plane(self) -> tuple[int, int]:
        """Pixels a frame, and pixels a row."""
        return self.tensor.shape[2] * self.tensor.shape[3], self.tensor.shape[3]


@dataclass(frozen=True)
class Window:
    """The groups of one pass.

    Attributes:
        first, last: groups first <= g < last belong to the pass; the first and the last pass also
            have the points whose group does not exist.
        start: the first of the groups that do exist.
        groups: how many of them.
        bad: (num_groups + 1,) int32, of all passes: 1 where a point of a group is invalid; the last
            entry where a group does not exist, which invalidates all.
    """

    first: int
    last: int
    start: int
    groups: int
    bad: Tensor


def filter_in_passes(
    points: Points,
    maps: Tensor,
    channels: int,
    scratch: Callable[[int, int], int],
    prepare: Callable[[Window], Callable[[Tensor, Tensor], None]],
    limit: int | None = None,
) -> Tensor:
    """Filters maps in passes over as many groups and channels as fit into memory.

    Args:
        points: whose values the maps are.
        maps: (F, K, H, W) float32, any strides.
        channels: most maps at once.
        scratch: bytes needed for a number of groups and of maps.
        prepare: called once per pass; returns the filter (maps, out) of that pass.
        limit: bytes; None: `scratch_bytes`.

    Returns:
        (F, K, H, W) float32, contiguous.

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
    bad = torch.zeros(total + 1, dtype=torch.int32, device=maps.device)
    for start in range(0, total, at_once):
        stop = min(start + at_once, total)
        first, last = (start or -ANY), (ANY if stop == total else stop)
        run = prepare(Window(first, last, start, stop - start, bad))
        for part, part_out in zip(maps.split(channels, 1), out.split(channels, 1), strict=True):
            run(part, part_out)
    if at_once < total:  # the last pass may have met a group that does not exist
        out.masked_fill_(bad[-1] > 0, float("nan"))
    return out


def ceil_div(a: int, b: int) -> int:
    """The least whole number not below a / b."""
    return -(-a // b)


def block(size: int) -> int:
    """The block size of a kernel: as given on a device, few large blocks in the interpreter."""
    return 32 * size if INTERPRETED else size


@functools.lru_cache(maxsize=16)
def scratch_bytes(device: torch.device) -> int:
    """What one pass may use beside input and output. Few passes matter more on a fast GPU, which
    has the memory: tables are as large as they could become, not as they are."""
    if device.type != "cuda":
        return SCRATCH_BYTES
    whole = torch.cuda.get_device_properties(device).total_memory
    return max(SCRATCH_BYTES, whole // SCRATCH_SHARE)


@functools.lru_cache(maxsize=16)
def workers(device: torch.device) -> int:
    """Programs to launch for a kernel that walks through a list."""
    if device.type != "cuda":
        return 2  # the interpreter runs one after the other
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return processors * PROGRAMS_PER_PROCESSOR
