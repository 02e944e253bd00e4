"""What an epoch has brought so far: losses, skipped steps, frames that could not be read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from torch import Tensor

_HALVINGS = 40  # steps that float16's scale may take to come down to where gradients fit


@dataclass(frozen=True)
class Step:
    """What a step leaves on the device.

    Attributes:
        losses: scalars by name: this rank's parts of them.
        left_out: scalar bool: a gradient was not finite, and the weights did not move.
        sound: scalar bool: this rank's losses and outputs were finite.
        frames: how many this rank trained on.
    """

    losses: dict[str, Tensor]
    left_out: Tensor
    sound: Tensor
    frames: int


@dataclass(frozen=True)
class Seen:
    """A step as one rank saw it, on the host.

    Attributes:
        losses: by name.
        left_out, sound: as in `Step`.
        frames: how many were trained on.
        names: of them, where the step was left out.
        unreadable: names of frames that could not be decoded.
    """

    losses: dict[str, float]
    left_out: bool
    sound: bool
    frames: int
    names: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class StepResult:
    """Result of a step, still on the device; `step` is None if no frame could be read."""

    step: Step | None
    frames: int
    names: tuple[str, ...]
    unreadable: tuple[str, ...]

    def synchronize(self) -> Seen:
        """Waits for the device and returns the result on the host."""
        if self.step is None:
            return Seen({}, False, True, 0, (), self.unreadable)
        step = self.step
        scalars = [*step.losses.values(), step.left_out, step.sound]
        *values, left_out, sound = torch.stack([s.detach().double() for s in scalars]).tolist()
        losses = dict(zip(step.losses, values, strict=True))
        names = self.names if left_out else ()
        return Seen(losses, bool(left_out), bool(sound), self.frames, names, self.unreadable)


@dataclass
class Progress:
    """Of the epoch that is being trained; part of the training state.

    Attributes:
        sums: of each loss over the steps that counted.
        counts: how many these were, by loss.
        frames: trained on, by all ranks.
        skipped: steps left out because something was not finite.
        in_a_row: the last steps, all of them left out.
        unreadable: names of frames that could not be decoded, over all epochs.
    """

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    skipped: int = 0
    in_a_row: int = 0
    unreadable: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """As a training state keeps it."""
        return asdict(self) | {"unreadable": sorted(self.unreadable)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """The opposite of `to_json`."""
        return cls(**{**values, "unreadable": set(values["unreadable"])})

    def of_next_epoch(self) -> "Progress":
        """At the beginning of the epoch after this one."""
        return Progress(in_a_row=self.in_a_row, unreadable=self.unreadable)

    def add(self, ranks: Sequence[Seen], half: bool) -> bool:
        """Takes in one step as all ranks saw it.

        Args:
            ranks: what each saw.
            half: float16's scale is at work; where only the scaled gradients overflowed it has been
                lowered, and there is nothing to tell.

        Returns:
            whether it was left out for what is unsound.
        """
        self.frames += sum(seen.frames for seen in ranks)
        for seen in ranks:
            self.unreadable.update(seen.unreadable)
        if not any(seen.frames for seen in ranks):  # none could be read: no step was made of it
            return False
        if ranks[0].left_out:  # all ranks decide by the same gradients
            self.in_a_row += 1
            unsound = not (half and all(seen.sound for seen in ranks))
            self.skipped += unsound
            return unsound
        self.in_a_row = 0
        for name in ranks[0].losses:
            mean = sum(seen.losses[name] for seen in ranks) / len(ranks)
            self.sums[name] = self.sums.get(name, 0.0) + mean
            self.counts[name] = self.counts.get(name, 0) + 1
        return False

    def too_many_in_a_row(self, limit: int, half: bool) -> bool:
        """Whether so many steps in a row were left out that the run had better stop."""
        return self.in_a_row >= limit + (_HALVINGS if half else 0)

    def means(self) -> dict[str, float]:
        """Mean of each loss over the steps that counted."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}


@contextmanager
def progress_bar(console: Console) -> Iterator[Bars]:
    """A rich progress bar with the fields `losses` and `rate`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield bars
