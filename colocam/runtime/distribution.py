"""The processes of a run: one alone, or those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colocam.runtime.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process among all of a run; without torchrun it is alone, and nothing is sent.

    What is called a collective below has to be called by all ranks alike.

    Attributes:
        rank: number of this process, 0…world − 1.
        world: how many there are.
        local: its number on its machine, which is that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def main(self) -> bool:
        """Whether this is the one process that writes and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the ranks, elementwise; a collective that a GPU does not wait for."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def gather(self, value: object) -> list:
        """Every rank's value, in the order of the ranks; a collective on the host."""
        if self.world == 1:
            return [value]
        values: list = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all ranks are here; a collective."""
        self.gather(None)  # not dist.barrier, which would use the GPUs

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the ranks in every backward pass."""
        if self.world == 1:
            return module
        return DistributedDataParallel(module)

    def gathers_gradients(self, module: nn.Module, last: bool) -> AbstractContextManager:
        """Around a forward and backward pass of `parallel`'s module.

        Only the last one of a step averages the gradients, which by then hold all of the step.
        """
        return nullcontext() if last or self.world == 1 else module.no_sync()

    def share_buffers(self, module: nn.Module) -> None:
        """Gives all ranks the first one's buffers (batch norm's statistics); a collective."""
        if self.world > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A block that the first rank goes through before the others do; a collective."""
        if not self.main:
            self.wait()
        try:
            yield
        finally:
            if self.main:
                self.wait()


ALONE = Ranks()
PATIENCE = timedelta(hours=3)
"""For ranks that wait for the first one, as for hours of video to be opened; a rank that dies ends
the others at once, whatever this is."""


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """The ranks that torchrun's environment variables tell of; connected within the block.

    NCCL carries tensors between GPUs, gloo everything else.

    Args:
        device: "auto", "cpu" or "cuda", as the user gave it.

    Raises:
        UserError: more processes on this machine than it has GPUs.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if any(name not in os.environ for name in names) or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    ranks = Ranks(*(int(os.environ[name]) for name in names))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu and ranks.local >= torch.cuda.device_count():
        raise UserError(
            f"--nproc-per-node: process {ranks.local} of this machine finds no GPU of its own "
            f"({torch.cuda.device_count()} here); start fewer, or give --device cpu"
        )
    if on_gpu:
        torch.cuda.set_device(ranks.local)
    backends = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backends, timeout=PATIENCE)
    yield ranks
    dist.destroy_process_group()  # not after an error: it might wait for a rank that is gone
