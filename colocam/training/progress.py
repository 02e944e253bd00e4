"""Progress of an epoch: losses, skipped steps, unreadable frames, and how they are printed."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TimeRemainingColumn
from torch import Tensor

from colocam.runtime.console import progress_bar, text_column

_SCALE_HALVINGS = 40  # skipped steps allowed while float16's loss scale decreases
_LOSSES_FROM = 110  # columns of a terminal from which the progress bar shows losses


@dataclass(frozen=True)
class Step:
    """Values of a training step, on the device.

    Attributes:
        losses: scalars by name; this rank's contribution.
        skipped: scalar bool; a gradient was not finite and the weights were not updated.
        finite: scalar bool; this rank's losses and outputs were finite.
        frames: number of frames this rank trained on.
    """

    losses: dict[str, Tensor]
    skipped: Tensor
    finite: Tensor
    frames: int


@dataclass(frozen=True)
class StepValues:
    """Values of a `StepResult` on the host.

    Attributes:
        losses: values by name.
        skipped: as in `Step`.
        finite: as in `Step`.
        frames: number of frames trained on.
        names: names of these frames if the step was skipped, otherwise empty.
        unreadable: names of frames that could not be decoded.
    """

    losses: dict[str, float]
    skipped: bool
    finite: bool
    frames: int
    names: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class StepResult:
    """Result of a training step of one rank; its values are still on the device.

    Attributes:
        step: its values; None if no frame could be decoded.
        frames: number of frames trained on.
        names: names of these frames.
        unreadable: names of frames that could not be decoded.
    """

    step: Step | None
    frames: int
    names: tuple[str, ...]
    unreadable: tuple[str, ...]

    def synchronize(self) -> StepValues:
        """Waits for the device and copies the values to the host."""
        if self.step is None:
            return StepValues({}, False, True, 0, (), self.unreadable)
        step = self.step
        scalars = [*step.losses.values(), step.skipped, step.finite]
        *values, skipped, finite = torch.stack([s.detach().double() for s in scalars]).tolist()
        losses = dict(zip(step.losses, values, strict=True))
        names = self.names if skipped else ()
        return StepValues(losses, bool(skipped), bool(finite), self.frames, names, self.unreadable)


@dataclass
class Progress:
    """Progress of the current epoch; part of the training state.

    Attributes:
        sums: sum of each loss over the steps that were not skipped.
        counts: number of these steps, by loss.
        frames: number of frames trained on, over all ranks.
        skipped: number of steps skipped because of a non-finite value.
        in_a_row: number of consecutive skipped steps up to now.
        unreadable: names of frames that could not be decoded, over all epochs.
    """

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    skipped: int = 0
    in_a_row: int = 0
    unreadable: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """JSON types for the training state."""
        return asdict(self) | {"unreadable": sorted(self.unreadable)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """Inverse of `to_json`."""
        return cls(**{**values, "unreadable": set(values["unreadable"])})

    def of_next_epoch(self) -> "Progress":
        """Progress at the start of the next epoch."""
        return Progress(in_a_row=self.in_a_row, unreadable=self.unreadable)

    def add(self, ranks: Sequence[StepValues], half: bool) -> bool:
        """Adds one step.

        Args:
            ranks: values of each rank.
            half: whether float16 loss scaling is enabled. If only scaled gradients overflowed, the
                scale was lowered and the step does not count as skipped.

        Returns:
            whether the step was skipped because of a non-finite value.
        """
        self.frames += sum(values.frames for values in ranks)
        for values in ranks:
            self.unreadable.update(values.unreadable)
        if not any(values.frames for values in ranks):  # no frame was readable: there was no step
            return False
        if ranks[0].skipped:  # the same on all ranks, which share their gradients
            self.in_a_row += 1
            invalid = not (half and all(values.finite for values in ranks))
            self.skipped += invalid
            return invalid
        self.in_a_row = 0
        for name in ranks[0].losses:
            mean = sum(values.losses[name] for values in ranks) / len(ranks)
            self.sums[name] = self.sums.get(name, 0.0) + mean
            self.counts[name] = self.counts.get(name, 0) + 1
        return False

    def too_many_in_a_row(self, limit: int, half: bool) -> bool:
        """Whether the number of consecutive skipped steps reaches the limit that ends the run."""
        return self.in_a_row >= limit + (_SCALE_HALVINGS if half else 0)

    def means(self) -> dict[str, float]:
        """Mean of each loss over the steps that were not skipped."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}


def step_bar(console: Console) -> Bars:
    """Progress bar over the steps of an epoch, with the task fields `losses` and `rate`."""
    losses = (text_column("{task.fields[losses]}"),) if console.width >= _LOSSES_FROM else ()
    return progress_bar(console, text_column("{task.fields[rate]}"), TimeRemainingColumn(), *losses)


def print_epoch(console: Console, title: str, values: Iterable[str]) -> None:
    """Prints a line per epoch; in a terminal that is too narrow, wrapped between values.

    Args:
        console: where to print.
        title: stage and epoch.
        values: each with its name, such as "lr 0.01".
    """
    line = title
    for value in values:
        if cell_len(line) + 2 + cell_len(value) > console.width:
            console.print(line)
            line = f"  {value}"
        else:
            line = f"{line}  {value}"
    console.print(line)
