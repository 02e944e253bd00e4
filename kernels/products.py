"""Matrix products that are as exact as their types, whatever is allowed elsewhere."""

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b. On a GPU float32 goes by float64: TF32, which training allows, would leave 10 bits."""
    if a.is_cuda and a.dtype == torch.float32:
        return (a.to(torch.float64) @ b.to(torch.float64)).to(torch.float32)
    return a @ b
