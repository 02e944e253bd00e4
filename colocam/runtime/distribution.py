"""Processes of a run: a single one, or those that torchrun started."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colocam.runtime.console import print_error
from colocam.runtime.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """Rank of this process, and the collectives of a run. With one process, nothing is sent.

    All ranks must call a method marked as a collective, in the same order.

    Attributes:
        rank: rank of this process, 0…world − 1.
        world: number of processes.
        local: rank of this process on its machine, the index of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def main(self) -> bool:
        """Whether this is rank 0, the only one that writes files and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Returns the elementwise mean over the ranks. A collective; asynchronous on a GPU.

        Args:
            values: of any shape, on the device of the run.
        """
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all ranks, in the order of the ranks. A collective on the host.

        Args:
            value: any object that can be pickled.
        """
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Waits for all ranks. A collective."""
        self.gather(None)  # dist.barrier would use the GPUs

    def parallel(self, module: nn.Module) -> nn.Module:
        """Returns the module in DistributedDataParallel; itself if there is one process."""
        if self.world == 1:
            return module
        return DistributedDataParallel(module)

    def gathers_gradients(self, module: nn.Module, last: bool) -> AbstractContextManager:
        """Returns the context of a forward and backward pass with accumulated gradients.

        Args:
            module: returned by `parallel`.
            last: whether this is the last pass of the step, in which the ranks average their
                accumulated gradients.
        """
        if last or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return module.no_sync()

    def share_buffers(self, module: nn.Module) -> None:
        """Broadcasts the buffers of rank 0 (batch norm statistics). A collective."""
        if self.world > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Runs the block on rank 0 first, then on the others. A collective."""
        if not self.main:
            self.wait()
        try:
            yield
        finally:
            if self.main:
                self.wait()


ALONE = Ranks()
# Long enough for rank 0 to open hours of video; if a rank dies, the launcher ends the others.
TIMEOUT = timedelta(hours=3)
_REPORT_SECONDS = 60.0  # between lines on what is waited for
_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # of torchrun, with WORLD_SIZE


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Yields the ranks of torchrun's environment variables, connected within the block.

    The backend is NCCL for tensors on GPUs, gloo for everything else. While processes are missing,
    a line of output per minute names what is waited for.

    Args:
        device: "auto", "cpu" or "cuda", the value of `--device`.

    Raises:
        UserError: environment variables are missing or invalid, the processes cannot connect, or
            there are more of them than GPUs on this machine.
    """
    ranks = _ranks_of_environment()
    if ranks.world == 1:
        yield ALONE
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu and ranks.local >= torch.cuda.device_count():
        raise UserError(
            f"--nproc-per-node: process {ranks.local} of this machine finds no GPU of its own "
            f"({torch.cuda.device_count()} here); start fewer, or give --device cpu"
        )
    if on_gpu:
        torch.cuda.set_device(ranks.local)
    backends = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        with _waiting_printed(ranks, place):
            dist.init_process_group(backends, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:  # of the store, or of the backend
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"MASTER_ADDR, MASTER_PORT: the processes cannot connect at {place} ({reason})"
        ) from error
    yield ranks
    dist.destroy_process_group()  # not after an error: it could wait for a rank that has ended


def _ranks_of_environment() -> Ranks:
    """Ranks by the environment variables of torchrun.

    Raises:
        UserError: WORLD_SIZE says that there are other processes, but a variable that is needed to
            find them is missing or not a valid number.
    """
    world = os.environ.get("WORLD_SIZE") or "1"
    if world == "1":
        return ALONE
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE={world}, but {', '.join(missing)} not set: start the processes with "
            "torchrun, or unset WORLD_SIZE to run a single one"
        )
    values = {
        name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    }
    for name, value in values.items():
        if not value.isdecimal():
            raise UserError(f"{name}={value}: is not a number; start the processes with torchrun")
    rank, size, local, _ = map(int, values.values())
    if rank >= size:
        raise UserError(f"RANK={rank}: must be less than WORLD_SIZE={size}")
    return Ranks(rank, size, local)


@contextmanager
def _waiting_printed(ranks: Ranks, place: str) -> Iterator[None]:
    """Prints a line per minute while the block runs; one process per machine does."""
    connected = threading.Event()
    others = "the other processes" if ranks.main else "process 0 and the others"

    def wait() -> None:
        for minutes in itertools.count(1):
            if connected.wait(_REPORT_SECONDS):
                return
            print_error(
                f"process {ranks.rank} of {ranks.world}: waiting for {others} at {place} "
                f"since {minutes} min"
            )

    if ranks.local == 0:
        threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        connected.set()
