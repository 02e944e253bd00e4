"""The least time that work can take: its operations at the fastest rate that a machine reaches."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from lib.timing import time_work

# What reaches a machine's rate: side of a matrix product; frames, channels, side of a convolution.
LARGE = {"cpu": (2048, (16, 256, 28)), "cuda": (8192, (64, 512, 56))}


def flops_of(work: Callable[[], object]) -> int:
    """Operations of convolutions and matrix products, two a multiply-accumulate.

    The work is run once: on the device "meta" nothing is computed. Of a backward pass in it they
    are counted too; what torch.compile has made is not seen.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def rates(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> dict[str, float]:
    """FLOPs a second of a large "matmul" and a large "convolution"."""
    return {
        "matmul": matmul_rate(device, dtype, seconds),
        "convolution": convolution_rate(device, dtype, seconds),
    }


def in_words(rates: dict[str, float]) -> str:
    """What `rates` gave, as it stands above a table."""
    return ", ".join(f"{rate / 1e12:.3g} TFLOP/s {name}" for name, rate in rates.items())


@torch.no_grad()
def matmul_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """FLOPs a second of a large matrix product at its fastest, in about so many seconds."""
    n, _ = LARGE[device.type]
    left, right = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    times = time_work(lambda: lambda: left @ right, device, seconds)
    return 1e3 * 2 * n**3 / min(times.ms)


@torch.no_grad()
def convolution_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """The same of a large 3×3 convolution, channels-last."""
    _, (batch, channels, side) = LARGE[device.type]
    images = torch.randn(batch, channels, side, side, device=device).to(dtype)
    kernels = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
    images, kernels = (x.to(memory_format=torch.channels_last) for x in (images, kernels))
    times = time_work(lambda: lambda: F.conv2d(images, kernels, padding=1), device, seconds)
    return 1e3 * 2 * batch * side**2 * channels**2 * 9 / min(times.ms)
