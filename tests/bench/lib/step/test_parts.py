"""bench/lib/step/parts.py: the step in parts equals the training step, terms those of the loss."""

import torch

from lib.step import parts as step_parts
from lib.step.parts import ALONE_PARTS, PARTS
from lib.stopwatch import Stopwatch

from colocam.evaluation.metric_names import FOREGROUND_SHARE, ONE_SIDED

CPU = torch.device("cpu")


def test_step_in_parts_equals_the_training_step(tiny_batch, one_thread):
    run, drawn = tiny_batch
    moved = []
    for in_parts in (False, True):
        stage = step_parts.open_stage(run)
        before = [p.detach().clone() for p in stage.update.parameters]
        if in_parts:
            watch = Stopwatch(CPU)
            watch.new_repeat()
            step_parts.step_in_parts(stage, drawn, 3, watch)
        else:
            skipped = step_parts.whole_step(stage, drawn, 3)
            assert not skipped
        moved.append([p - b for p, b in zip(stage.update.parameters, before, strict=True)])
    for whole, parts in zip(*moved, strict=True):
        assert whole.abs().max() > 0
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-7)
    assert set(watch.times()) == set(PARTS)


def test_preparation_in_parts_equals_that_of_the_stage(tiny_batch, one_thread):
    run, drawn = tiny_batch
    stage = step_parts.open_stage(run)
    watch = Stopwatch(CPU)
    watch.new_repeat()
    stage.seeding.begin(5, 0)
    expected = stage.prepare(drawn.on(run.device))
    stage.seeding.begin(5, 0)
    found = step_parts.prepare_in_parts(stage, drawn.on(run.device), watch)
    assert set(expected.seeds.unique().tolist()) == {0, 1, 255}
    torch.testing.assert_close(found._asdict(), expected._asdict(), rtol=0, atol=0)


def test_term_alone_equals_that_term_of_the_loss(tiny_batch):
    run, drawn = tiny_batch
    stage = step_parts.open_stage(run)
    prepared = stage.prepare(drawn.on(run.device))
    maps, counts = stage.maps(prepared).detach(), stage.counts([prepared])
    together = stage.losses(prepared, maps, 0.0, counts)
    metrics = {FOREGROUND_SHARE, ONE_SIDED}
    assert set(together) == {"pl", "crf", "asc", "coloc", "total"} | metrics
    for terms in (("pl",), ("crf", "coloc")):
        with step_parts.only_terms(stage, terms):
            alone = stage.losses(prepared, maps, 0.0, counts)
        assert set(alone) == {*terms, "total"} | metrics
        for term in terms:
            torch.testing.assert_close(alone[term], together[term])
    assert set(stage.losses(prepared, maps, 0.0, counts)) == set(together)


def test_all_parts_are_timed_in_every_repeat(tiny_batch):
    run, drawn = tiny_batch
    reports = []
    times = step_parts.time_step(
        step_parts.open_stage(run), drawn, 0.001, lambda *given: reports.append(given)
    )
    assert reports == [(0, 3), (1, 3), (2, 3)]
    assert set(times.by_part) == {"whole step", *PARTS, *ALONE_PARTS}
    assert {len(part.ms) for part in times.by_part.values()} == {3}
    assert times.host == {}  # measured on a GPU only
    assert times.skipped == 0


def test_host_time_is_measured_for_every_part_but_the_whole_step(tiny_batch):
    run, drawn = tiny_batch
    times = step_parts._time_host(step_parts.open_stage(run), drawn, 2)
    assert set(times) == {*PARTS, *ALONE_PARTS}
    assert {len(part.ms) for part in times.values()} == {2}
