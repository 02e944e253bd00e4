"""Matrix products without TF32."""

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b; on a GPU float32 as float64, since TF32, which training enables, has 10 bits."""
    if a.is_cuda and a.dtype == torch.float32:
        return (a.to(torch.float64) @ b.to(torch.float64)).to(torch.float32)
    return a @ b
