"""Where a run computes, and in which precision."""

import random
from dataclasses import dataclass

import numpy as np
import torch

from colocam.runtime.errors import UserError


def pick_device(name: str, local: int = 0) -> torch.device:
    """ "auto" is CUDA where there is a GPU, else the CPU.

    Args:
        name: "auto", "cpu" or "cuda".
        local: number of the GPU.

    Raises:
        UserError: "cuda" where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is available here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name, local) if name == "cuda" else torch.device(name)


@dataclass(frozen=True)
class Autocast:
    """Mixed precision on a device; calling it makes the context.

    Attributes:
        device: where it computes.
        dtype: what convolutions and matrix products compute in; float32: no autocast.
    """

    device: torch.device
    dtype: torch.dtype

    def __call__(self) -> torch.autocast:
        """A context of autocast to `dtype`."""
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype if enabled else None, enabled=enabled)

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps small gradients of float16 from vanishing; idle in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def make_autocast(amp: str, device: torch.device) -> Autocast:
    """Mixed precision by name.

    Args:
        amp: "off", "bf16", "fp16", or "auto": bfloat16 where the hardware computes in it, else
            float16 on a GPU, else off.
        device: where to compute.
    """
    dtypes = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if amp == "auto":
        amp = "fp16" if device.type == "cuda" else "off"
        amp = "bf16" if _computes_in_bfloat16(device) else amp
    return Autocast(device, dtypes[amp])


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions bfloat16 is emulated and slower than float32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's global random sources (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # it takes no larger one
    torch.manual_seed(seed)
