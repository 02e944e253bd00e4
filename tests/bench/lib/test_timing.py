"""bench/lib/timing.py: time and peak memory of a computation."""

import pytest
import torch

from lib import timing


def test_preparation_is_not_timed_and_repeats_are_at_least_three():
    calls = []

    def make_work():
        calls.append("made")
        return lambda: calls.append("done")

    times = timing.time_on_cpu(make_work, seconds=0)
    assert calls == ["made", "done"] * 4  # a warm-up and three repeats
    assert len(times.ms) == 3
    assert times.median == sorted(times.ms)[1]


def test_peak_memory_is_that_of_the_work():
    size = 2**26
    peak = timing.peak_memory(lambda: lambda: torch.ones(size // 4).sum(), torch.device("cpu"))
    if peak is None:
        pytest.skip("the peak resident size cannot be reset here")
    assert peak == pytest.approx(size / 1e6, rel=0.2)
