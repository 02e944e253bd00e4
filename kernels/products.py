"""Matrix products in the precision of their operands, whatever TF32 settings say."""

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b. float32 on a GPU is computed in float64: TF32 has a mantissa of 10 bits only."""
    if a.is_cuda and a.dtype == torch.float32:
        return (a.to(torch.float64) @ b.to(torch.float64)).to(torch.float32)
    return a @ b
