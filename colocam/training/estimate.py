"""Estimate of a run's duration on a CPU, from a trial of each of its parts."""

import copy
import itertools
import time
from collections.abc import Callable

import torch

from colocam.cam.gradients import AVERAGES
from colocam.models import Localizer
from colocam.training.localizer import make_localizer_stage
from colocam.training.run import Run

FEWEST_FRAMES = 1000  # of both stages; a shorter run is not worth the trials
_TRIAL_FRAMES = 8


def print_estimate(run: Run, model: Localizer) -> None:
    """Prints the number of steps and, on a CPU, the estimated duration of a new run.

    Runs of less than `FEWEST_FRAMES` frames print nothing.

    Args:
        run: environment, of one process.
        model: of stage 1; it is not changed.
    """
    config = run.config
    first, second = run.loader(1, config.classifier_batch_size), run.loader(*_localizer_batch(run))
    first_batches = len(first) * config.classifier_epochs * ("classifier" in config.stages)
    second_batches = len(second) * config.epochs * ("localizer" in config.stages)
    first.close()
    second.close()
    frames = first_batches * config.classifier_batch_size + second_batches * config.batch_size
    if frames < FEWEST_FRAMES:
        return
    first_steps, second_steps = (
        -(-batches // config.accumulate) for batches in (first_batches, second_batches)
    )
    line = f"{first_steps} steps of stage 1, {second_steps} of stage 2"
    if run.device.type == "cpu" and run.ranks.world == 1 and config.compile != "on":
        with run.console.status("estimating the duration"), torch.random.fork_rng([]):
            seconds = _seconds(run, model, first_batches, second_batches)
        parts = ", ".join(f"{name} {_minutes(value)}" for name, value in seconds.items())
        line += f"; {_minutes(sum(seconds.values()))} on this machine ({parts})"
    run.console.print(line, soft_wrap=True)


def _localizer_batch(run: Run) -> tuple[int, int]:
    """Frames of a sequence and of a batch, as stage 2 reads them."""
    config = run.config
    frames = config.sequence_frames
    return frames, config.batch_size * (frames if config.method == "tcam" else 1)


def _seconds(
    run: Run, model: Localizer, first_batches: int, second_batches: int
) -> dict[str, float]:
    """Estimated duration of each part."""
    config, seconds = run.config, dict[str, float]()
    encode = _encoding(run, model)
    if first_batches:
        head = config.classifier_layers == "head"
        cached = head and model.head.pooling in AVERAGES  # otherwise one pass a batch, or two more
        passes = first_batches * (1 / config.classifier_epochs if cached else 1 if head else 3)
        seconds["stage 1"] = passes * config.classifier_batch_size * encode
    if second_batches:
        seconds["stage 2"] = second_batches * _batch(run, model)
    every = config.classifier_evaluate_every or config.evaluate_every
    validations = _validations(config.classifier_epochs, every) * (first_batches > 0)
    validations += _validations(config.epochs, config.evaluate_every) * (second_batches > 0)
    frames = validations * len(run.data.val) + len(run.data.test)
    seconds["evaluation"] = frames * _evaluation(run, model)
    return seconds


def _validations(epochs: int, every: int) -> int:
    return -(-epochs // every)


def _encoding(run: Run, model: Localizer) -> float:
    """Seconds to read and encode a training frame."""
    loader = run.loader(1, _TRIAL_FRAMES)
    encoder = copy.deepcopy(model.encoder).eval()
    frames = 1

    @torch.no_grad()
    def encode() -> None:
        nonlocal frames
        (batch,) = itertools.islice(loader.epoch(0), 1)
        frames = len(batch.images)
        with run.autocast():
            encoder(encoder.normalized(batch.images))

    seconds = _time(encode) / frames
    loader.close()
    return seconds


def _batch(run: Run, model: Localizer) -> float:
    """Seconds of a step of stage 2 with one batch."""
    stage = make_localizer_stage(run, copy.deepcopy(model))
    stage.train()

    def step() -> None:
        (batch,) = itertools.islice(stage.loader.epoch(0), 1)
        if not batch.blank:
            stage.step([batch], 0.0, 0)

    seconds = _time(step)
    stage.loader.close()
    return seconds


def _evaluation(run: Run, model: Localizer) -> float:
    """Seconds to evaluate a frame."""
    data = run.data
    records = (data.val or data.test)[:_TRIAL_FRAMES]
    if not records:
        return 0.0
    return _time(lambda: run.validate(model, decode=True, records=records)) / len(records)


def _time(function: Callable[[], None] | Callable[[], object]) -> float:
    """Seconds of the second call."""
    function()
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _minutes(seconds: float) -> str:
    return "under 1 min" if seconds < 60 else f"about {seconds / 60:.0f} min"
