"""Where a run computes, and in which precision."""

import random
from collections.abc import Callable

import numpy as np
import torch

from colocam.errors import UserError


def pick_device(name: str) -> torch.device:
    """ "auto" is CUDA where there is a GPU, else the CPU.

    Raises:
        UserError: "cuda" where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is available here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def make_autocast(amp: str, device: torch.device) -> Callable[[], torch.autocast]:
    """Makes contexts of bfloat16 autocast; "auto" turns it on where the hardware has it."""
    enabled = amp == "on" or (amp == "auto" and _computes_in_bfloat16(device))
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions bfloat16 is emulated and slower than float32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's global random sources (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
