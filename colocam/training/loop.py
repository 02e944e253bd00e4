"""The loop that both stages share: epochs of steps, validation, training states, signals."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from colocam.data.loading.loader import SequenceBatch, SequenceLoader
from colocam.losses import barrier_sharpness
from colocam.models import Localizer
from colocam.runtime.errors import UserError
from colocam.training.interruption import Interrupted, Interruption
from colocam.training.progress import Progress, Step, StepResult, print_epoch, step_bar
from colocam.training.run import Run
from colocam.training.state import (
    State,
    gather_tensors,
    random_states,
    restore_tensors,
    state_files,
    write_state,
)
from colocam.training.update import Update

_LOOK_EVERY = 10  # steps between looks at the losses: a look waits for the device and the ranks


class Stage(Protocol):
    """What the loop needs of a stage.

    Attributes:
        name: "classifier" or "localizer".
        model: whose weights are saved.
        update: moves them.
        loader: gives the batches.
        epochs: how many.
        best: best scores on validation so far, by checkpoint; part of the training state.
    """

    name: str
    model: Localizer
    update: Update
    loader: SequenceLoader
    epochs: int
    best: dict[str, list[float]]

    def train(self) -> None:
        """Sets what is trained to training mode, and what is frozen to eval mode."""

    def step(self, batches: Sequence[SequenceBatch], epoch: float, number: int) -> Step:
        """One step over batches on the device: step `number` of all, at a fractional epoch."""

    def remark(self, means: Mapping[str, float]) -> str | None:
        """What the user should hear of an epoch's means of what the steps gave."""

    def validate(self, epoch: int, unreadable: set[str]) -> dict[str, float]:
        """Scores on validation, in %; the main rank writes the checkpoints that are due."""


class Loop:
    """Trains one stage from where it stands to its end.

    Args:
        run: its surroundings.
        stage: what is trained.
        state: to go on from; None: from the beginning.
        interruption: tells of signals.
    """

    def __init__(
        self, run: Run, stage: Stage, state: State | None, interruption: Interruption
    ) -> None:
        self.run, self.stage, self.interruption = run, stage, interruption
        self.epoch = self.done = 0  # the epoch that is trained, and how many of its steps are done
        self.progress = Progress()
        self.steps = -(-len(stage.loader) // run.config.accumulate)  # of an epoch
        self.taken: list[StepResult] = []
        self.started, self.frames_before = time.perf_counter(), 0
        if state is not None:
            self._restore(state)

    def train(self) -> set[str]:
        """Runs the epochs that are left.

        Returns:
            names of the frames that could not be decoded.

        Raises:
            Interrupted: a signal came; the state has been written.
            UserError: something cannot be read or written, or too many steps in a row were left
                out.
        """
        try:
            while self.epoch < self.stage.epochs:
                self.stage.train()
                self._train_epoch()
                self._end_epoch()
        finally:
            self.stage.loader.close()
        return self.progress.unreadable

    def _train_epoch(self) -> None:
        run, stage = self.run, self.stage
        self.started, self.frames_before = time.perf_counter(), self.progress.frames
        title = f"{stage.name} {self.epoch + 1}/{stage.epochs}"
        with step_bar(run.console) as bars:
            bar = bars.add_task(title, total=self.steps, completed=self.done, losses="", rate="")
            for batches in self._batches():
                self.taken.append(self._take(batches))
                self.done += 1
                bars.advance(bar)
                if self._looks():
                    bars.update(bar, losses=self._look(), rate=f"{self._rate():.0f} frames/s")

    def _batches(self) -> Iterator[list[SequenceBatch]]:
        """The batches of every step that is left of the epoch."""
        count = self.run.config.accumulate
        batches = iter(self.stage.loader.epoch(self.epoch, self.done * count))
        while group := list(itertools.islice(batches, count)):
            yield group

    def _take(self, batches: Sequence[SequenceBatch]) -> StepResult:
        """Takes a step; none where this process is alone and has no frame."""
        run = self.run
        unreadable = tuple(name for batch in batches for name in batch.unreadable)
        if run.ranks.world == 1:
            batches = [batch for batch in batches if not batch.blank]
        if not batches:
            return StepResult(None, 0, (), unreadable)
        names = tuple(name for batch in batches if not batch.blank for name in batch.names)
        step = self.stage.step(
            batches,
            self.epoch + self.done / self.steps,
            self.epoch * self.steps + self.done,
        )
        return StepResult(step, step.frames, names, unreadable)

    def _looks(self) -> bool:
        """Whether to look after this step; the same on all ranks."""
        return (
            self.run.device.type == "cpu"  # its steps take long, and there is nothing to wait for
            or self.done in (1, self.steps)
            or self.done % _LOOK_EVERY == 0
            or self._saves()
        )

    def _saves(self) -> bool:
        """Whether the configuration asks for a training state after this step."""
        every = self.run.config.state_every
        return every > 0 and self.done % every == 0 and self.done < self.steps

    def _look(self) -> str:
        """Looks at the steps taken since the last look, and whether a signal came.

        Returns:
            the losses of the last one, for the progress bar.
        """
        own = [taken.synchronize() for taken in self.taken]
        self.taken = []
        everyone, signals = zip(
            *self.run.ranks.gather((own, self.interruption.number)), strict=True
        )
        for seen in zip(*everyone, strict=True):
            if self.progress.add(seen, self.stage.update.scaler.is_enabled()):
                self._report_skip([name for one in seen for name in one.names])
        self._stop_if_stuck()
        if number := max(signals):
            self.save()
            raise Interrupted(number)
        if self._saves():
            self.save()
        return "  ".join(f"{name} {value:.3f}" for name, value in own[-1].losses.items())

    def _report_skip(self, names: Sequence[str]) -> None:
        self.run.console.print(
            f"warning: {self.stage.name} epoch {self.epoch + 1}: a loss or gradient was not "
            f"finite, step left out; its frames: {', '.join(names)}",
            style="yellow", markup=False, soft_wrap=True,
        )  # fmt: skip

    def _stop_if_stuck(self) -> None:
        run, half = self.run, self.stage.update.scaler.is_enabled()
        if not self.progress.too_many_in_a_row(run.config.stop_after_skips, half):
            return
        states = state_files(run.checkpoints)
        kept = f"the last good training state is {states[0]}" if states else "none was written yet"
        raise UserError(
            f"{self.stage.name}: {self.progress.in_a_row} steps in a row had a loss or gradient "
            f"that was not finite; try a lower --lr or --amp off; {kept}"
        )

    def _end_epoch(self) -> None:
        """Validation, the log, the training state."""
        run, stage = self.run, self.stage
        rate = round(self._rate(), 1)
        run.ranks.share_buffers(stage.model)
        stage.update.scheduler.step()
        means, scores = self.progress.means(), {}
        if run.evaluates_after(self.epoch, stage.epochs):
            scores = stage.validate(self.epoch, self.progress.unreadable)
        self._print(means, scores, rate)
        if line := stage.remark(means):
            run.warn(f"{stage.name} epoch {self.epoch + 1}: {line}")
        run.metrics.add(
            stage=stage.name, epoch=self.epoch, **means, **scores,
            skipped_steps=self.progress.skipped, frames_per_second=rate,
        )  # fmt: skip
        self.epoch, self.done = self.epoch + 1, 0
        self.progress = self.progress.of_next_epoch()
        self.save()
        run.metrics.flush()
        if number := max(run.ranks.gather(self.interruption.number)):
            raise Interrupted(number)

    def _print(self, means: dict[str, float], scores: dict[str, float], rate: float) -> None:
        texts = [f"{name} {value:.3f}" for name, value in means.items()]
        texts += [f"{name} (val) {value:.1f} %" for name, value in scores.items()]
        if self.progress.skipped:
            texts.append(f"{self.progress.skipped} steps left out")
        title = f"{self.stage.name:10} {self.epoch + 1:3d}/{self.stage.epochs}"
        print_epoch(self.run.console, title, [*texts, f"{rate:.0f} frames/s"])

    def _rate(self) -> float:
        frames = self.progress.frames - self.frames_before
        return frames / (time.perf_counter() - self.started)

    def save(self) -> None:
        """Writes the training state; a collective."""
        run, stage = self.run, self.stage
        random = run.ranks.gather(random_states(run.device))
        if not run.ranks.main:
            return
        update = stage.update
        state = State(
            stage.name, self.epoch, self.done, self.steps, self.progress.to_json(), stage.best,
            barrier_sharpness(self.epoch), run.metrics.lines, run.data.classes,
            run.config.to_values(),
            update.state(),
            gather_tensors(stage.model, update, random),
        )  # fmt: skip
        write_state(run.checkpoints, state, run.config.keep)

    def _restore(self, state: State) -> None:
        if state.step and state.steps != self.steps:
            raise UserError(
                f"--resume: the state stands in an epoch of {state.steps} steps, and data and "
                f"processes make {self.steps} now; take the data and number of processes that it "
                "began with"
            )
        update = self.stage.update
        restore_tensors(state, self.stage.model, update, self.run.ranks.rank)
        update.load(state.optimizer)
        self.epoch, self.done = state.epoch, state.step
        self.progress = Progress.from_json(state.progress)
        self.stage.best.update(state.best)
