"""Time and peak memory of a computation, on the CPU and on a GPU.

Each function takes `make_work`, which is called before every repeat, outside the measurement, and
returns the computation: a function without arguments. A computation that consumes its inputs is
thus prepared anew.
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
MakeWork = Callable[[], Work]

MIN_REPEATS, MAX_REPEATS = 3, 200
GPU_WARM_UPS = 5  # compilation, tuning, rising clocks
GRAPH_WARM_UPS = 3  # on the side stream that a capture requires
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # far larger than the caches
_capture_errors: list[str] = []  # why the first capture failed


@dataclass(frozen=True)
class Times:
    """Milliseconds of every repeat."""

    ms: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the repeats."""
        return statistics.median(self.ms)


def time_work(make_work: MakeWork, device: torch.device, seconds: float) -> Times:
    """Times a computation after a warm-up.

    Args:
        make_work: prepares a repeat.
        device: where it runs.
        seconds: total time of the repeats; at least 3, at most 200.
    """
    if device.type == "cuda":
        return time_on_gpu(make_work, seconds)
    return time_on_cpu(make_work, seconds)


def time_on_cpu(make_work: MakeWork, seconds: float) -> Times:
    """Wall-clock times, after one warm-up."""
    make_work()()
    times: list[float] = []
    while len(times) < MIN_REPEATS or (len(times) < MAX_REPEATS and sum(times) < seconds):
        work = make_work()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return Times(tuple(1e3 * t for t in times))


def time_on_gpu(make_work: MakeWork, seconds: float) -> Times:
    """Times between CUDA events on the current stream, without synchronizing between repeats."""
    for _ in range(GPU_WARM_UPS):
        make_work()()
    torch.cuda.synchronize()
    start = time.perf_counter()
    make_work()()
    torch.cuda.synchronize()
    once = max(time.perf_counter() - start, 1e-6)
    repeats = min(MAX_REPEATS, max(MIN_REPEATS, int(seconds / once)))
    events = []
    for _ in range(repeats):
        work = make_work()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        work()
        after.record()
        events.append((before, after))
    torch.cuda.synchronize()
    return Times(tuple(before.elapsed_time(after) for before, after in events))


def time_graph(work: Work, seconds: float) -> Times | None:
    """Times of replaying a computation as a CUDA graph.

    After the first failed capture nothing is captured any more: torch's allocator remains in the
    state of that capture.

    Returns:
        None where the computation cannot be captured, e.g. because it synchronizes with the GPU.
    """
    if _capture_errors:
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
    except RuntimeError as error:  # raised by torch for everything a capture does not support
        _capture_errors.append(str(error).splitlines()[0])
        warnings.warn(f"no times of CUDA graphs from here on: {_capture_errors[0]}", stacklevel=2)
        torch.cuda.set_stream(current)  # a failed capture leaves its own stream current
        torch.cuda.synchronize()
        return None
    return time_on_gpu(lambda: graph.replay, seconds)


def peak_memory(make_work: MakeWork, device: torch.device) -> float | None:
    """Peak memory of a computation beyond what is allocated before it, in MB (10^6 bytes).

    None where the system does not report it.
    """
    return peak_on_gpu(make_work) if device.type == "cuda" else peak_on_cpu(make_work)


def peak_on_gpu(make_work: MakeWork) -> float:
    """Peak of torch's allocator, in MB; other allocations are not counted."""
    work = make_work()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def peak_on_cpu(make_work: MakeWork) -> float | None:
    """Rise of the process's peak resident size, in MB; None where it cannot be reset."""
    work = make_work()
    gc.collect()
    _return_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current size
        before, reset = resident("VmRSS"), resident("VmHWM")
    except OSError:
        return None
    if reset > before + 2**20:
        return None
    work()
    return max(0, resident("VmHWM") - before) / 1e6


def _return_free_memory() -> None:
    """Returns freed memory to the system, so that reusing it raises the resident size."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not glibc: an earlier peak may hide a later one
        return


def resident(name: str, process: int | str = "self") -> int:
    """A size in /proc/PROCESS/status, in bytes.

    Raises:
        OSError: the system has no such file, or the file no such size.
    """
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {name} in /proc/{process}/status")


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second of the fastest large copy; bytes read and bytes written are counted."""
    size = COPY_BYTES[device.type]
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    times = time_work(lambda: lambda: target.copy_(source), device, seconds=1.0)
    return 2 * size / (min(times.ms) / 1e3)
