"""bench/lib/step/table.py: shares, published numbers and notes of a result."""

from dataclasses import replace

import pytest

from lib.step import table as step_table
from lib.step.parts import ALONE_PARTS, PARTS, StepTimes
from lib.step.setting import Setting
from lib.stopwatch import PartTimes

from colocam.training.config import Config

RESULT = {
    "frames": 8, "batch_size": 8, "frames_per_s": 20.0, "sum_percent": 100.0, "crf_percent": 40.0,
    "repeats": 3, "steps_left_out": 0, "peak_mb": None, "host_sync": None, "host_sync_at": None,
    "others_cpu_percent": 1.0, "published": None,
}  # fmt: skip


def of_every_part(ms, *others):
    """Three repeats of every part."""
    return {part: PartTimes([ms] * 3, [ms / 2] * 3) for part in (*PARTS, *ALONE_PARTS, *others)}


@pytest.fixture
def times():
    """10 ms for every part and for the whole step."""
    return StepTimes(of_every_part(10.0, "whole step"), {}, 0, None)


def setting_of(tiny_batch, config=None):
    run, batch = tiny_batch
    run = replace(run, config=config or run.config)
    return Setting(run, batch, "", 1.0, {}, 1.0, {})


def test_published_time_is_given_for_its_case_only(tiny_batch, times):
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
        ({"others_cpu_percent": 47.0}, "These times are invalid: other processes"),
        ({"frames": 7}, "The batch has 7 frames, not 8."),
        ({"steps_left_out": 2}, "2 steps were skipped: a gradient was not finite"),
        ({"host_sync": False}, "A step synchronizes with the GPU: no."),
        (
            {"host_sync": True, "host_sync_at": "seeds.py:9, f"},
            "A step synchronizes with the GPU: yes, first at seeds.py:9, f.",
        ),
        ({"published": {"about": ""}}, "Published: CoLo-CAM paper"),
    ],
)
def test_limits_of_a_result_are_noted(change, what):
    assert not any(what in note for note in step_table.notes(RESULT))
    assert sum(what in note for note in step_table.notes(RESULT | change)) == 1


def test_input_is_the_mean_over_its_batches(tiny_batch, times):
    first, *_ = step_table.make_rows(times, [1.0, 2.0, 9.0], setting_of(tiny_batch))
    assert first.part == "input: frames to a batch"
    assert (first.ms, first.in_sum) == (4, False)
    assert first.step_percent == pytest.approx(40)


def test_host_time_is_given_for_the_parts_and_their_sum(tiny_batch, times):
    on_gpu = replace(times, host=of_every_part(4.0))
    rows = {r.part: r for r in step_table.make_rows(on_gpu, [1.0], setting_of(tiny_batch))}
    assert {rows[part].host_ms for part in (*PARTS, *ALONE_PARTS)} == {4}
    assert rows["sum of the parts"].host_ms == 4 * len(PARTS)
    assert rows["whole step"].host_ms is None  # its launches may fill the queue
    on_cpu = step_table.make_rows(times, [1.0], setting_of(tiny_batch))
    assert {row.host_ms for row in on_cpu} == {None}
