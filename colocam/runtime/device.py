"""Device, mixed precision, and seeds of the global random number generators."""

import math
import random
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from colocam.runtime.errors import UserError


def pick_device(name: str, local: int = 0) -> torch.device:
    """Returns the device of a name.

    Args:
        name: "cpu", "cuda", or "auto": CUDA if there is a GPU, else the CPU.
        local: index of the GPU on this machine.

    Raises:
        UserError: "cuda" without a GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is available here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name, local) if name == "cuda" else torch.device(name)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copies a tensor from host memory; to a GPU from pinned memory, without waiting for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Autocast:
    """Mixed precision on a device. Calling it returns a new autocast context.

    Attributes:
        device: device of the computation.
        dtype: precision of convolutions and matrix products; float32 turns autocast off.
    """

    device: torch.device
    dtype: torch.dtype

    def __call__(self) -> torch.autocast:
        """Returns a context of autocast to `dtype`."""
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype if enabled else None, enabled=enabled)

    def scaler(self) -> torch.amp.GradScaler:
        """Returns a gradient scaler, enabled for float16 only."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def make_autocast(amp: str, device: torch.device) -> Autocast:
    """Returns mixed precision by name.

    Args:
        amp: "off", "bf16", "fp16", or "auto": bfloat16 if the hardware supports it and, on a CPU,
            is faster in it than in float32, else float16 on a GPU, else off.
        device: device of the computation.
    """
    dtypes = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if amp == "auto":
        amp = "fp16" if device.type == "cuda" else "off"
        amp = "bf16" if _computes_in_bfloat16(device) else amp
    return Autocast(device, dtypes[amp])


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.cpu._is_amx_tile_supported():
        return True
    # Without these instructions bfloat16 is emulated and slower than float32.
    return torch.cpu._is_avx512_bf16_supported() and _bfloat16_is_faster()


@cache
def _bfloat16_is_faster() -> bool:
    """Whether this CPU multiplies matrices faster in bfloat16 than in float32.

    With AVX-512 alone, bfloat16 was twice as fast on an AMD EPYC and half as fast on an Intel Xeon:
    far enough from each other that other processes do not change the answer.
    """
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    for _ in range(6):  # the first product of a precision is slower
        for dtype in seconds:
            matrix = torch.ones(512, 512, dtype=dtype)
            started = time.perf_counter()
            torch.mm(matrix, matrix)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds[torch.bfloat16] < seconds[torch.float32]


def check_seed(option: str, seed: int) -> None:
    """Checks a seed of an option, such as "--seed".

    Raises:
        UserError: it is negative, or has more than the 64 bits that torch accepts.
    """
    if seed < 0:
        raise UserError(f"{option} {seed}: must not be negative")
    if seed >= 2**64:
        raise UserError(f"{option} {seed}: must be less than 2^64")


def seed_everything(seed: int) -> None:
    """Seeds the global random number generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # the largest seed it accepts
    torch.manual_seed(seed)
