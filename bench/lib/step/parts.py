"""Timed step of stage 2: as a whole, in parts, and every loss term alone."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lib.compilation import compile_errors_reported
from lib.machine import OtherProcesses
from lib.stopwatch import PartTimes, Stopwatch
from lib.timing import GPU_WARM_UPS, MAX_REPEATS, MIN_REPEATS

from colocam.data.loading.loader import DrawnBatch, SequenceBatch
from colocam.losses import LocalizerLoss, Schedule
from colocam.models import Localizer
from colocam.runtime.device import seed_everything
from colocam.training.localizer import LocalizerStage, Prepared
from colocam.training.run import Run
from colocam.training.update import nan_if_not_finite

COPY, ENCODER, CAM, SEEDS = "copy and augmentation", "encoder", "CAM", "seeds"
DECODER, LOSSES, BACKWARD = "decoder forward", "losses", "decoder backward"
OPTIMIZER = "optimizer"
PARTS = (COPY, ENCODER, CAM, SEEDS, DECODER, LOSSES, BACKWARD, OPTIMIZER)
TERMS = ("pl", "crf", "asc", "coloc")
BOTH_CRF = "crf and coloc"
ALONE_PARTS = {f"{term} alone": (term,) for term in TERMS} | {BOTH_CRF: ("crf", "coloc")}
WHOLE = "whole step"
HOST_REPEATS = 10
KEEP_SECONDS = 5.0  # between calls of `keep`


def open_stage(run: Run) -> LocalizerStage:
    """Creates stage 2 with a model of random weights, in training mode."""
    config = run.config
    seed_everything(config.seed)
    model = Localizer(config.encoder, len(run.data.classes), config.weights, config.pooling)
    stage = LocalizerStage(run, run.prepare_model(model))
    stage.train()
    return stage


@dataclass(frozen=True)
class StepTimes:
    """Times of all repeats.

    Attributes:
        by_part: of `PARTS`, `ALONE_PARTS` and `WHOLE`.
        host: on a GPU, host time until `PARTS` and `ALONE_PARTS` are launched; else empty.
        skipped: number of whole steps that did not update the weights.
        others_cpu_percent: CPU use of other processes during the measurement.
    """

    by_part: dict[str, PartTimes]
    host: dict[str, PartTimes]
    skipped: int
    others_cpu_percent: float | None


def time_step(
    stage: LocalizerStage,
    drawn: DrawnBatch,
    seconds: float,
    report: Callable[[int, int], None] = lambda done, repeats: None,
    keep: Callable[[StepTimes], None] = lambda times: None,
) -> StepTimes:
    """Times steps after a warm-up.

    Args:
        stage: whose steps are timed.
        drawn: the batch, on the host.
        seconds: total time of the repeats; at least 3, at most 200.
        report: called with the number of finished repeats and of all.
        keep: called with the times so far every few seconds, between repeats, and after the last.

    Raises:
        UserError: torch.compile fails.
    """
    device, numbers = stage.run.device, itertools.count()
    on_gpu = device.type == "cuda"
    for _ in range(GPU_WARM_UPS if on_gpu else 1):
        once = _warm_up(stage, drawn, next(numbers))
    repeats = min(MAX_REPEATS, max(MIN_REPEATS, int(seconds / once)))
    watch, others = Stopwatch(device), OtherProcesses()
    skipped: list[Tensor] = []

    def so_far() -> StepTimes:
        by_part = watch.times()  # synchronizes
        return StepTimes(by_part, {}, int(torch.stack(skipped).sum()), others.percent())

    kept = time.monotonic()
    for done in range(repeats):
        report(done, repeats)
        skipped.append(_repeat(stage, drawn, next(numbers), watch))
        if time.monotonic() - kept > KEEP_SECONDS:
            keep(so_far())
            kept = time.monotonic()
    times = so_far()
    keep(times)
    host = _time_host(stage, drawn, min(repeats, HOST_REPEATS)) if on_gpu else {}
    return replace(times, host=host)


def _warm_up(stage: LocalizerStage, drawn: DrawnBatch, number: int) -> float:
    """Runs one repeat, which may compile; returns its seconds."""
    watch, start = Stopwatch(stage.run.device), time.perf_counter()
    with compile_errors_reported():
        _repeat(stage, drawn, number, watch)
    watch.times()  # synchronizes
    return time.perf_counter() - start


def _repeat(stage: LocalizerStage, drawn: DrawnBatch, number: int, watch: Stopwatch) -> Tensor:
    """Times a whole step, a step in parts, every term alone; whether the first was skipped."""
    watch.new_repeat()
    if stage.run.device.type == "cuda":
        # After single terms the host is further ahead of the GPU than after a step, which would
        # hide launch overhead: an untimed step restores the lead of consecutive steps.
        torch.cuda.synchronize()
        whole_step(stage, drawn, number)
    watch.start()
    skipped = whole_step(stage, drawn, number)
    watch.lap(WHOLE)
    prepared, maps = step_in_parts(stage, drawn, number, watch)
    terms_alone(stage, prepared, maps, watch)
    return skipped


def _time_host(stage: LocalizerStage, drawn: DrawnBatch, repeats: int) -> dict[str, PartTimes]:
    watch = Stopwatch(stage.run.device, host_time=True)
    for number in range(repeats):
        watch.new_repeat()
        prepared, maps = step_in_parts(stage, drawn, number, watch)
        terms_alone(stage, prepared, maps, watch)
    return watch.times()


def whole_step(stage: LocalizerStage, drawn: DrawnBatch, number: int) -> Tensor:
    """Runs a training step, including the copy of the batch to the device.

    Returns:
        scalar bool on the device: whether the step was skipped.
    """
    return stage.step([drawn.on(stage.run.device)], 0.0, number).skipped


def step_in_parts(
    stage: LocalizerStage, drawn: DrawnBatch, number: int, watch: Stopwatch
) -> tuple[Prepared, Tensor]:
    """Runs the same step in parts, one lap each.

    Returns:
        input of the decoder, and its maps (B, 2, H, W), detached.
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
    stage.update.backward(nan_if_not_finite(losses["total"], leaf))
    watch.lap(LOSSES)
    maps.backward(leaf.grad)
    watch.lap(BACKWARD)
    stage.update.step()
    watch.lap(OPTIMIZER)
    return prepared, maps.detach()


def prepare_in_parts(stage: LocalizerStage, batch: SequenceBatch, watch: Stopwatch) -> Prepared:
    """Runs `LocalizerStage.prepare` in parts, one lap each."""
    images, features = stage.encode(batch)
    watch.lap(ENCODER)
    cams = stage.seeding.maps(batch, images, features)
    watch.lap(CAM)
    seeds = stage.seeding.draw(cams)
    prepared = stage.prepared(batch, features, seeds)
    watch.lap(SEEDS)
    return prepared


def terms_alone(stage: LocalizerStage, prepared: Prepared, maps: Tensor, watch: Stopwatch) -> None:
    """Times terms of the loss without the others: forward pass and gradient on the maps."""
    counts = stage.counts([prepared])
    for name, terms in ALONE_PARTS.items():
        with only_terms(stage, terms):
            leaf = maps.detach().requires_grad_()
            watch.start()
            total = stage.losses(prepared, leaf, 0.0, counts)["total"]
            watch.lap(name, forward=True)
            torch.autograd.grad(total, leaf)
            watch.lap(name)


@contextmanager
def only_terms(stage: LocalizerStage, terms: Sequence[str]) -> Iterator[None]:
    """Context in which the stage's loss consists of the given terms."""
    loss, crop = stage.loss, stage.run.config.crop
    off: dict[str, Any] = {term: Schedule(0.0) for term in TERMS if term not in terms}
    stage.loss = LocalizerLoss(replace(loss.settings, **off), (crop, crop))
    try:
        yield
    finally:
        stage.loss = loss
