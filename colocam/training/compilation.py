"""torch.compile of the parts of a step, for batches of full size."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

GRAPHS = 32  # of one method, for all modules of a process: dynamo's limit


def compile_full_batches(module: nn.Module, sizes: Collection[int]) -> None:
    """Compiles calls of a module with batches of some sizes, a static graph each; in place.

    At the first batch of another size torch.compile makes a graph for any size, which from then on
    serves full batches too, and slower. The last batch of an epoch is small, as are batches with
    short shots: they are computed without a graph. `module.forward` is not compiled, and neither
    are copies of the module, as with `nn.Module.compile`.

    Args:
        module: its first argument is the batch, a tensor or a sequence of tensors.
        sizes: numbers of frames.
    """
    torch._dynamo.config.recompile_limit = GRAPHS
    eager = module._call_impl
    compiled = torch.compile(eager, dynamic=False)

    def call(batch: Tensor | tuple | list, *args: Any) -> Any:
        first = batch if isinstance(batch, Tensor) else batch[0]
        return (compiled if len(first) in sizes else eager)(batch, *args)

    module._compiled_call_impl = call  # where `nn.Module.compile` puts it
