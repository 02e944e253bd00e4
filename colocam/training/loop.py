"""What both stages share: optimizer, one epoch, progress bars, the log of metrics."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from colocam.config import Config
from colocam.model.checkpoint import write_whole
from colocam.video.batches import SequenceBatch, SequenceLoader

Step = Callable[[SequenceBatch, float], dict[str, Tensor]]

_LOOK_EVERY = 10  # steps between looks at the losses: a look waits for the device


class Metrics:
    """Appends one JSON object a line to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, **values: object) -> None:
        """Writes one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def keep(self, stage: str) -> None:
        """Drops the lines of every stage but this one."""
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if f'"stage": "{stage}"' in line]
        write_whole(self.path, "".join(kept).encode())


def make_optimizer(
    groups: Iterable[tuple[nn.Module, float]], config: Config, decay_every: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """SGD with Nesterov momentum over (module, learning rate), and its decay by epochs."""
    optimizer = torch.optim.SGD(
        [{"params": list(module.parameters()), "lr": lr} for module, lr in groups],
        momentum=config.momentum,
        nesterov=True,
        weight_decay=config.weight_decay,
    )
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, decay_every, config.decay)


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A rich progress bar with a field `losses`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


class Epochs:
    """Runs epochs of one stage and keeps count of what happened.

    Attributes:
        unreadable: names of frames that could not be decoded, over all epochs.
    """

    def __init__(self, stage: str, loader: SequenceLoader, count: int, console: Console) -> None:
        self.stage, self.loader, self.count, self.console = stage, loader, count, console
        self.unreadable: set[str] = set()

    def run(self, epoch: int, step: Step, device: torch.device) -> dict[str, float]:
        """One epoch: mean of each loss over the steps, and frames a second."""
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        frames, start = 0, time.perf_counter()
        with progress_bar(self.console) as progress:
            bar = progress.add_task(
                f"{self.stage} {epoch + 1}/{self.count}", total=len(self.loader), losses="", rate=""
            )
            for number, batch in enumerate(self.loader.epoch(epoch)):
                self.unreadable.update(batch.unreadable)
                progress.advance(bar)
                if not batch.num_sequences:
                    continue
                losses = step(batch.to(device), epoch + number / len(self.loader))
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0) + value.detach()
                    counts[name] = counts.get(name, 0) + 1
                frames += len(batch.images)
                if number % _LOOK_EVERY == 0 or device.type == "cpu":
                    text = "  ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
                    rate = f"{frames / (time.perf_counter() - start):.0f} frames/s"
                    progress.update(bar, losses=text, rate=rate)
        means = {name: float(value) / counts[name] for name, value in sums.items()}
        return means | {"frames_per_second": round(frames / (time.perf_counter() - start), 1)}
