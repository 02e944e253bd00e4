"""Training loop of both stages: steps, validation, log, training states, signals."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from colocam.evaluation.evaluate import NotFiniteError
from colocam.losses import barrier_sharpness
from colocam.models import Localizer
from colocam.runtime.errors import UserError
from colocam.runtime.interruption import Interrupted, Interruption
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

_SYNCHRONIZE_EVERY = 10  # steps between synchronizations with the device and the other ranks
_RATE = {"classifier": "--classifier-lr", "localizer": "--lr"}  # option of a stage's learning rate


class Batch(Protocol):
    """What the loop reads of a batch; see `SequenceBatch`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def unreadable(self) -> tuple[str, ...]: ...

    @property
    def blank(self) -> bool: ...


class Loader(Protocol):
    """Interface of a loader, see `SequenceLoader`."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Any]: ...

    def close(self) -> None: ...


class Stage(Protocol):
    """Interface of a stage: the step, validation, and checkpoints.

    Attributes:
        name: "classifier" or "localizer".
        model: model whose weights are saved.
        update: optimizer of the trained modules.
        loader: loader of the training batches.
        epochs: number of epochs.
        evaluate_every: number of epochs between validations; the last epoch has one, too.
        best: best scores on validation so far, by checkpoint; part of the training state.
    """

    name: str
    model: Localizer
    update: Update
    epochs: int
    evaluate_every: int
    best: dict[str, list[float]]

    @property
    def loader(self) -> Loader: ...

    def train(self) -> None:
        """Sets trained modules to training mode, and frozen ones to eval mode."""

    def step(self, batches: Sequence[Any], epoch: float, number: int) -> Step:
        """Takes a step.

        Args:
            batches: on the device; their gradients are accumulated.
            epoch: fractional epoch.
            number: number of the step in the run, counted from 0.
        """

    def warning(self, means: Mapping[str, float]) -> str | None:
        """Returns a warning about an epoch's mean losses and metrics, or None."""

    def validate(self, epoch: int, unreadable: set[str]) -> dict[str, float]:
        """Evaluates on the validation frames, and writes checkpoints on rank 0.

        Args:
            epoch: counted from 0.
            unreadable: receives the names of frames that cannot be decoded.

        Returns:
            scores in %, by name.
        """


class Loop:
    """Training loop of one stage.

    Args:
        run: environment.
        stage: stage to train.
        state: training state to resume from; None: start at the first epoch.
        interruption: records signals.

    Raises:
        UserError: the state does not belong to this run.
    """

    def __init__(
        self, run: Run, stage: Stage, state: State | None, interruption: Interruption
    ) -> None:
        self.run, self.stage, self.interruption = run, stage, interruption
        self.epoch = self.done = 0  # current epoch, and number of its steps that are done
        self.progress = Progress()
        self.steps = -(-len(stage.loader) // run.config.accumulate)  # of an epoch
        self.pending: list[StepResult] = []  # steps since the last synchronization
        self.started, self.frames_before = time.perf_counter(), 0
        if state is not None:
            self._restore(state)

    def train(self) -> set[str]:
        """Trains the remaining epochs.

        Returns:
            names of the frames that could not be decoded.

        Raises:
            Interrupted: a signal was received; the training state is written.
            UserError: a file cannot be read or written, or too many steps in a row were skipped.
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
                self.pending.append(self._step(batches))
                self.done += 1
                bars.advance(bar)
                if self._synchronizes():
                    losses = self._synchronize()
                    bars.update(bar, losses=losses, rate=f"{self._rate():.0f} frames/s")

    def _batches(self) -> Iterator[list[Batch]]:
        """Yields the batches of each remaining step of the epoch."""
        count = self.run.config.accumulate
        batches = iter(self.stage.loader.epoch(self.epoch, self.done * count))
        while group := list(itertools.islice(batches, count)):
            yield group

    def _step(self, batches: Sequence[Batch]) -> StepResult:
        """Takes a step; none if there is one process and it has no frame."""
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

    def _synchronizes(self) -> bool:
        """Returns whether to synchronize after this step; the same on all ranks."""
        return (
            self.run.device.type == "cpu"  # steps are long, and the device is never behind
            or self.done in (1, self.steps)
            or self.done % _SYNCHRONIZE_EVERY == 0
            or self._saves_state()
        )

    def _saves_state(self) -> bool:
        """Returns whether a training state is due after this step."""
        every = self.run.config.state_every
        return every > 0 and self.done % every == 0 and self.done < self.steps

    def _synchronize(self) -> str:
        """Gathers the pending step results and the signals of all ranks.

        Skipped steps are reported, a due training state is written.

        Returns:
            the losses of the last step, for the progress bar.

        Raises:
            Interrupted: a rank received a signal; the training state is written.
            UserError: too many steps in a row were skipped.
        """
        own = [result.synchronize() for result in self.pending]
        self.pending = []
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
        if self._saves_state():
            self.save()
        return "  ".join(f"{name} {value:.3f}" for name, value in own[-1].losses.items())

    def _report_skip(self, names: Sequence[str]) -> None:
        self.run.console.print(
            f"warning: {self.stage.name} epoch {self.epoch + 1}: a loss or gradient was not "
            f"finite, step skipped; its frames: {', '.join(names)}",
            style="yellow", soft_wrap=True,
        )  # fmt: skip

    def _stop_if_stuck(self) -> None:
        run, half = self.run, self.stage.update.scaler.is_enabled()
        if not self.progress.too_many_in_a_row(run.config.stop_after_skips, half):
            return
        raise UserError(
            f"{self.stage.name}: {self.progress.in_a_row} steps in a row had a loss or gradient "
            f"that was not finite; {self._advice()}"
        )

    def _advice(self) -> str:
        """What to do about values that are not finite."""
        states = state_files(self.run.checkpoints)
        last = f"the last training state is {states[0]}" if states else "no state was written yet"
        return f"try a lower {_RATE[self.stage.name]} or --amp off; {last}"

    def _validate(self) -> dict[str, float]:
        """Evaluates the stage's model.

        Raises:
            UserError: its outputs are not finite. Each step was: the last one made weights so large
                that the next outputs are not.
        """
        try:
            return self.stage.validate(self.epoch, self.progress.unreadable)
        except NotFiniteError as error:
            raise UserError(
                f"{self.stage.name} epoch {self.epoch + 1}: the weights have diverged: "
                f"{error.what} are not finite; {self._advice()}"
            ) from error

    def _end_epoch(self) -> None:
        """Validates, logs, and writes the training state."""
        run, stage = self.run, self.stage
        rate = round(self._rate(), 1)
        run.ranks.share_buffers(stage.model)
        stage.update.scheduler.step()
        means, scores = self.progress.means(), {}
        if (self.epoch + 1) % stage.evaluate_every == 0 or self.epoch + 1 == stage.epochs:
            scores = self._validate()
        self._print(means, scores, rate)
        if warning := stage.warning(means):
            run.warn(f"{stage.name} epoch {self.epoch + 1}: {warning}")
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
            texts.append(f"{self.progress.skipped} steps skipped")
        title = f"{self.stage.name:10} {self.epoch + 1:3d}/{self.stage.epochs}"
        print_epoch(self.run.console, title, [*texts, f"{rate:.0f} frames/s"])

    def _rate(self) -> float:
        frames = self.progress.frames - self.frames_before
        return frames / (time.perf_counter() - self.started)

    def save(self) -> None:
        """Writes the training state. A collective."""
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
                f"--resume: the state is within an epoch of {state.steps} steps, but with this "
                f"data and number of processes an epoch has {self.steps}; use those that the run "
                "started with"
            )
        update = self.stage.update
        restore_tensors(state, self.stage.model, update, self.run.ranks.rank)
        update.load(state.optimizer)
        self.epoch, self.done = state.epoch, state.step
        self.progress = Progress.from_json(state.progress)
        self.stage.best.update(state.best)
