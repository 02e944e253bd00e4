"""How long a piece of work takes and how much memory it wants, on the CPU and on a GPU.

Everywhere here `fresh` is called before every repeat, outside the clock, and returns the work: a
function without arguments. So work that uses itself up can be made anew.
"""

import ctypes
import gc
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

Work = Callable[[], object]
Fresh = Callable[[], Work]

LEAST_REPEATS, MOST_REPEATS = 3, 200
GPU_WARM_UPS = 5  # compiling, tuning, and clocks that rise
GRAPH_WARM_UPS = 3  # on the side stream that a capture asks for
_not_captured: list[str] = []  # why the first capture failed
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # far beyond the caches


@dataclass(frozen=True)
class Times:
    """Milliseconds of every repeat."""

    ms: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.ms)


def time_work(fresh: Fresh, device: torch.device, seconds: float) -> Times:
    """Repeats the work for about so many seconds, at least three times, after a warm-up."""
    return time_on_gpu(fresh, seconds) if device.type == "cuda" else time_on_cpu(fresh, seconds)


def time_on_cpu(fresh: Fresh, seconds: float) -> Times:
    """Wall-clock times; one warm-up."""
    fresh()()
    times: list[float] = []
    while len(times) < LEAST_REPEATS or (len(times) < MOST_REPEATS and sum(times) < seconds):
        work = fresh()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return Times(tuple(1e3 * t for t in times))


def time_on_gpu(fresh: Fresh, seconds: float) -> Times:
    """Times between events on the current stream; the host runs ahead where the work lets it."""
    for _ in range(GPU_WARM_UPS):
        fresh()()
    torch.cuda.synchronize()
    start = time.perf_counter()
    fresh()()
    torch.cuda.synchronize()
    once = max(time.perf_counter() - start, 1e-6)
    repeats = min(MOST_REPEATS, max(LEAST_REPEATS, int(seconds / once)))
    events = []
    for _ in range(repeats):
        work = fresh()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        work()
        after.record()
        events.append((before, after))
    torch.cuda.synchronize()
    return Times(tuple(before.elapsed_time(after) for before, after in events))


def time_graph(work: Work, seconds: float) -> Times | None:
    """Times of replaying the work as a CUDA graph; None where it cannot be captured.

    Work that waits for the GPU (to learn a size, to check an argument) cannot. After a failure
    nothing is captured any more: torch's allocator goes on as if that capture had not ended.
    """
    if _not_captured:
        return None
    current = torch.cuda.current_stream()
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(GRAPH_WARM_UPS):
                work()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
    except RuntimeError as error:  # what torch raises for whatever a capture does not allow
        _not_captured.append(str(error).splitlines()[0])
        warnings.warn(f"no times of CUDA graphs from here on: {_not_captured[0]}", stacklevel=2)
        torch.cuda.set_stream(current)  # a failed capture leaves its own behind
        torch.cuda.synchronize()
        return None
    return time_on_gpu(lambda: graph.replay, seconds)


def peak_memory(fresh: Fresh, device: torch.device) -> float | None:
    """MB (10^6 bytes) that the work takes at most, beyond what was held before it began."""
    return peak_on_gpu(fresh) if device.type == "cuda" else peak_on_cpu(fresh)


def peak_on_gpu(fresh: Fresh) -> float:
    """By PyTorch's own count; what others allocate past it is not seen."""
    work = fresh()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def peak_on_cpu(fresh: Fresh) -> float | None:
    """By the rise of the process's resident peak; None where the system does not reset it."""
    work = fresh()
    gc.collect()
    _return_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now
        before, reset = _resident("VmRSS"), _resident("VmHWM")
    except OSError:
        return None
    if reset > before + 2**20:
        return None
    work()
    return max(0, _resident("VmHWM") - before) / 1e6


def _return_free_memory() -> None:
    """Hands freed memory back to the system, so that using it again is seen to rise."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not glibc: an earlier peak may hide a later one
        return


def _resident(name: str) -> int:
    """A size in /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status")


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second that a large copy moves at its fastest, read and written bytes counted."""
    size = COPY_BYTES[device.type]
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    times = time_work(lambda: lambda: target.copy_(source), device, seconds=1.0)
    return 2 * size / (min(times.ms) / 1e3)
