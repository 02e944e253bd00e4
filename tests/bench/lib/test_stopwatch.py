"""bench/lib/stopwatch.py: laps are added to their parts and measured by the right clock."""

import torch

from lib import stopwatch
from lib.stopwatch import Stopwatch

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_laps_of_a_part_are_summed_within_a_repeat(monkeypatch):
    clock = iter([0.0, *(0.0, 1.0, 3.0, 6.0), *(100.0, 110.0, 130.0, 160.0)])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch(CPU)
    for _ in range(2):
        watch.new_repeat()
        watch.start()
        watch.lap("losses", forward=True)
        watch.lap("encoder")
        watch.lap("losses")
    times = watch.times()
    assert times["losses"].ms == [4e3, 40e3]
    assert times["losses"].forward_ms == [1e3, 10e3]
    assert times["encoder"].ms == [2e3, 20e3]


class FakeGpu:
    """Replaces CUDA events by a clock; records calls in order."""

    def __init__(self, monkeypatch):
        self.calls, self.now = [], 0.0
        gpu = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                gpu.calls.append("event")
                gpu.now += 5.0
                self.at = gpu.now

            def elapsed_time(self, after):
                assert gpu.calls[-1] == "synchronize", "events are read before they are recorded"
                return after.at - self.at

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: self.calls.append("synchronize"))


def test_gpu_is_timed_by_events_and_synchronized_at_the_end_only(monkeypatch):
    gpu = FakeGpu(monkeypatch)
    watch = Stopwatch(GPU)
    watch.new_repeat()
    watch.start()
    watch.lap("encoder")
    watch.lap("seeds")
    assert "synchronize" not in gpu.calls
    assert {part: times.ms for part, times in watch.times().items()} == {
        "encoder": [5.0],
        "seeds": [5.0],
    }


def test_host_is_timed_by_its_clock_with_an_idle_gpu(monkeypatch):
    gpu = FakeGpu(monkeypatch)
    clock = iter([0.0, 10.0, 11.0, 20.0, 23.0, 30.0])
    monkeypatch.setattr(
        stopwatch.time, "perf_counter", lambda: gpu.calls.append("clock") or next(clock)
    )
    watch = Stopwatch(GPU, host_time=True)
    watch.new_repeat()
    watch.start()
    watch.lap("encoder")
    watch.lap("seeds")
    assert gpu.calls == [
        *("synchronize", "clock"),  # construction
        *("synchronize", "clock", "clock"),  # encoder
        *("synchronize", "clock", "clock"),  # seeds
        *("synchronize", "clock"),
    ]
    assert {part: times.ms for part, times in watch.times().items()} == {
        "encoder": [1e3],
        "seeds": [3e3],
    }
