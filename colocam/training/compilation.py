"""torch.compile of the parts of a step, for batches of full size."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn


def compile_full_batches(module: nn.Module, sizes: Collection[int]) -> None:
    """Compiles a module for batches of some sizes, a static graph each; others are not compiled.

    At the first batch of another size torch.compile makes a graph for any size, which from then on
    serves full batches too, and slower. The last batch of an epoch is small, as are batches with
    short shots: they are computed without a graph.

    Args:
        module: its first argument is the batch, a tensor or a sequence of tensors.
        sizes: numbers of frames.
    """
    eager = module.forward
    compiled = torch.compile(eager, dynamic=False)

    def forward(batch: Tensor | tuple | list, *args: Any) -> Any:
        first = batch if isinstance(batch, Tensor) else batch[0]
        return (compiled if len(first) in sizes else eager)(batch, *args)

    module.forward = forward
