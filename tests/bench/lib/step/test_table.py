"""bench/step_table.py: shares, published numbers and notes belong to what was measured."""

from dataclasses import replace

import pytest

from lib.step import table as step_table
from lib.step.parts import StepTimes
from lib.step.setting import Setting
from lib.stopwatch import PartTimes

from colocam.training.config import Config

PARTS = (
    *("copy and augmentation", "encoder", "CAM", "seeds", "decoder forward", "losses"),
    *("decoder backward", "optimizer"),
)
ALONE_PARTS = ("pl alone", "crf alone", "asc alone", "coloc alone", "crf and coloc")
QUIET = {
    "frames": 8, "batch_size": 8, "frames_per_s": 20.0, "sum_percent": 100.0, "crf_percent": 40.0,
    "repeats": 3, "steps_left_out": 0, "peak_mb": None, "host_sync": None, "host_sync_at": None,
    "others_cpu_percent": 1.0, "published": None,
}  # fmt: skip


def of_every_part(ms, *others):
    """Three repeats of each."""
    return {part: PartTimes([ms] * 3, [ms / 2] * 3) for part in (*PARTS, *ALONE_PARTS, *others)}


@pytest.fixture
def times():
    """Each part takes 10 ms, so does a whole step."""
    return StepTimes(of_every_part(10.0, "whole step"), {}, 0, None)


def setting_of(tiny_batch, config=None):
    run, batch = tiny_batch
    run = replace(run, config=config or run.config)
    return Setting(run, batch, "", 1.0, {}, 1.0, {})


def test_published_numbers_stand_beside_their_own_case_alone(tiny_batch, times):
    for config, known in (
        (Config(), True),
        (Config(batch_size=16), False),
        (Config(encoder="vgg16"), False),
        (Config(crop=112), False),
    ):
        case = setting_of(tiny_batch, config)
        *_, last = step_table.make_rows(times, [1.0], case)
        assert (last.part == "whole step, published") == known
        assert (case.describe()["published"] is not None) == known
        if known:
            assert (last.ms, last.step_percent, last.in_sum) == (840, None, False)
            assert "60 ms" in last.note


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"others_cpu_percent": 47.0}, "Do not trust these times: other processes"),
        ({"frames": 7}, "The batch has 7 frames, not 8."),
        ({"steps_left_out": 2}, "2 steps had a gradient that was not finite"),
        ({"host_sync": False}, "A step waits for the GPU: no."),
        (
            {"host_sync": True, "host_sync_at": "seeds.py:9, f"},
            "A step waits for the GPU: yes, first at seeds.py:9, f.",
        ),
        ({"published": {"about": ""}}, "Published: CoLo-CAM paper"),
    ],
)
def test_what_a_reader_has_to_know_is_noted(change, what):
    assert not any(what in note for note in step_table.notes(QUIET))
    assert sum(what in note for note in step_table.notes(QUIET | change)) == 1


def test_the_input_is_the_mean_over_its_batches(tiny_batch, times):
    first, *_ = step_table.make_rows(times, [1.0, 2.0, 9.0], setting_of(tiny_batch))
    assert first.part == "input: frames to a batch"
    assert (first.ms, first.in_sum) == (4, False)
    assert first.step_percent == pytest.approx(40)


def test_the_hosts_time_stands_beside_the_parts_and_their_sum(tiny_batch, times):
    on_gpu = replace(times, of_host=of_every_part(4.0))
    rows = {r.part: r for r in step_table.make_rows(on_gpu, [1.0], setting_of(tiny_batch))}
    assert {rows[part].host_ms for part in (*PARTS, *ALONE_PARTS)} == {4}
    assert rows["sum of the parts"].host_ms == 4 * len(PARTS)
    assert rows["whole step"].host_ms is None  # its launches could fill the queue
    on_cpu = step_table.make_rows(times, [1.0], setting_of(tiny_batch))
    assert {row.host_ms for row in on_cpu} == {None}
