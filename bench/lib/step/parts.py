"""One step of stage 2, whole and in parts, and how long these take."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from colocam.cli.train import placed
from colocam.data.loading.loader import DrawnBatch, SequenceBatch
from colocam.losses import LocalizerLoss, Schedule
from colocam.models import Localizer
from colocam.runtime.device import seed_everything
from colocam.training.localizer import LocalizerStage, Prepared
from colocam.training.run import Run
from colocam.training.update import poisoned
from lib.compiling import compiler_failures_told
from lib.machine import OtherProcesses
from lib.stopwatch import PartTimes, Stopwatch
from lib.timing import GPU_WARM_UPS, LEAST_REPEATS, MOST_REPEATS

COPY, ENCODER, CAM, SEEDS = "copy and augmentation", "encoder", "CAM", "seeds"
DECODER, LOSSES, BACKWARD = "decoder forward", "losses", "decoder backward"
OPTIMIZER = "optimizer"
PARTS = (COPY, ENCODER, CAM, SEEDS, DECODER, LOSSES, BACKWARD, OPTIMIZER)
TERMS = ("pl", "crf", "asc", "coloc")
BOTH_CRF = "crf and coloc"
ALONE_PARTS = {f"{term} alone": (term,) for term in TERMS} | {BOTH_CRF: ("crf", "coloc")}
WHOLE = "whole step"
HOST_REPEATS = 10


def open_stage(run: Run) -> LocalizerStage:
    """Stage 2 over a model of random weights, ready to take steps."""
    config = run.config
    seed_everything(config.seed)
    model = Localizer(config.encoder, len(run.data.classes), config.weights, config.pooling)
    stage = LocalizerStage(run, placed(model, run))
    stage.train()
    return stage


@dataclass(frozen=True)
class StepTimes:
    """Of all repeats.

    Attributes:
        by_part: `PARTS`, `ALONE_PARTS` and `WHOLE`.
        of_host: on a GPU, `PARTS` and `ALONE_PARTS` until they are issued; else empty.
        left_out: whole steps that did not move the weights.
        others_cpu_percent: share of the CPU that other processes took meanwhile.
    """

    by_part: dict[str, PartTimes]
    of_host: dict[str, PartTimes]
    left_out: int
    others_cpu_percent: float | None


def time_step(
    stage: LocalizerStage,
    drawn: DrawnBatch,
    seconds: float,
    report: Callable[[int, int], None] = lambda done, repeats: None,
) -> StepTimes:
    """Repeats everything for about so many seconds, at least three times, after a warm-up.

    Args:
        stage: to take the steps.
        drawn: the batch, on the host.
        seconds: in all.
        report: is told how many repeats are done, and how many there will be.

    Raises:
        UserError: torch.compile fails.
    """
    device, numbers = stage.run.device, itertools.count()
    on_gpu = device.type == "cuda"
    for _ in range(GPU_WARM_UPS if on_gpu else 1):
        once = _warm_up(stage, drawn, next(numbers))
    repeats = min(MOST_REPEATS, max(LEAST_REPEATS, int(seconds / once)))
    watch, others, left_out = Stopwatch(device), OtherProcesses(), []
    for done in range(repeats):
        report(done, repeats)
        left_out.append(_repeat(stage, drawn, next(numbers), watch))
    times = watch.times()
    percent = others.percent()
    of_host = _time_host(stage, drawn, min(repeats, HOST_REPEATS)) if on_gpu else {}
    return StepTimes(times, of_host, int(torch.stack(left_out).sum()), percent)


def _warm_up(stage: LocalizerStage, drawn: DrawnBatch, number: int) -> float:
    """Seconds that a repeat takes; the first one compiles."""
    watch, start = Stopwatch(stage.run.device), time.perf_counter()
    with compiler_failures_told():
        _repeat(stage, drawn, number, watch)
    watch.times()  # waits for the device
    return time.perf_counter() - start


def _repeat(stage: LocalizerStage, drawn: DrawnBatch, number: int, watch: Stopwatch) -> Tensor:
    """A whole step, a step in parts, every term alone; whether the first was left out."""
    watch.new_repeat()
    if stage.run.device.type == "cuda":
        # The terms alone leave the host further ahead than a step does, and would hide its lag:
        # a step before the clock starts sets it where steps that follow each other have it.
        torch.cuda.synchronize()
        whole_step(stage, drawn, number)
    watch.start()
    left_out = whole_step(stage, drawn, number)
    watch.lap(WHOLE)
    prepared, maps = step_in_parts(stage, drawn, number, watch)
    terms_alone(stage, prepared, maps, watch)
    return left_out


def _time_host(stage: LocalizerStage, drawn: DrawnBatch, repeats: int) -> dict[str, PartTimes]:
    watch = Stopwatch(stage.run.device, of_host=True)
    for number in range(repeats):
        watch.new_repeat()
        prepared, maps = step_in_parts(stage, drawn, number, watch)
        terms_alone(stage, prepared, maps, watch)
    return watch.times()


def whole_step(stage: LocalizerStage, drawn: DrawnBatch, number: int) -> Tensor:
    """A step as training takes it, the batch's way to the device included.

    Returns:
        scalar bool on the device: it was left out.
    """
    return stage.step([drawn.on(stage.run.device)], 0.0, number).skipped


def step_in_parts(
    stage: LocalizerStage, drawn: DrawnBatch, number: int, watch: Stopwatch
) -> tuple[Prepared, Tensor]:
    """The same step piece by piece, a lap each.

    Returns:
        what went to the decoder, and its maps (B, 2, H, W), detached.
    """
    watch.start()
    batch = drawn.on(stage.run.device)
    watch.lap(COPY)
    stage.update.begin()
    stage.seeding.begin(number, stage.run.ranks.rank)
    watch.lap(OPTIMIZER)
    prepared = prepare_in_parts(stage, batch, watch)
    maps = stage.maps(prepared)
    watch.lap(DECODER)
    leaf = maps.detach().requires_grad_()
    losses = stage.losses(prepared, leaf, 0.0, stage.counts([prepared]))
    watch.lap(LOSSES, forward=True)
    stage.update.backward(poisoned(losses["total"], leaf))
    watch.lap(LOSSES)
    maps.backward(leaf.grad)
    watch.lap(BACKWARD)
    stage.update.step()
    watch.lap(OPTIMIZER)
    return prepared, maps.detach()


def prepare_in_parts(stage: LocalizerStage, batch: SequenceBatch, watch: Stopwatch) -> Prepared:
    """What `LocalizerStage.prepare` does, a lap for each part."""
    images, features = stage.encode(batch)
    watch.lap(ENCODER)
    cams = stage.seeding.maps(batch, images, features)
    watch.lap(CAM)
    seeds = stage.seeding.draw(cams)
    prepared = stage.prepared(batch, features, seeds)
    watch.lap(SEEDS)
    return prepared


def terms_alone(stage: LocalizerStage, prepared: Prepared, maps: Tensor, watch: Stopwatch) -> None:
    """Some terms of the loss without the others: forward, then their gradient on the maps."""
    counts = stage.counts([prepared])
    for name, terms in ALONE_PARTS.items():
        with only(stage, terms):
            leaf = maps.detach().requires_grad_()
            watch.start()
            total = stage.losses(prepared, leaf, 0.0, counts)["total"]
            watch.lap(name, forward=True)
            torch.autograd.grad(total, leaf)
            watch.lap(name)


@contextmanager
def only(stage: LocalizerStage, terms: Sequence[str]) -> Iterator[None]:
    """A block in which the stage's loss consists of these terms."""
    loss, crop = stage.loss, stage.run.config.crop
    off = {term: Schedule(0.0) for term in TERMS if term not in terms}
    stage.loss = LocalizerLoss(replace(loss.settings, **off), (crop, crop))
    try:
        yield
    finally:
        stage.loss = loss
