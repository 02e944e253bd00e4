"""Stopwatch: times of consecutive parts of a computation, repeat by repeat."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

import torch

Mark = float | torch.cuda.Event


@dataclass
class PartTimes:
    """Times of a part.

    Attributes:
        ms: of every repeat.
        forward_ms: of every repeat, share of its forward pass (losses only).
    """

    ms: list[float] = field(default_factory=list)
    forward_ms: list[float] = field(default_factory=list)


class Stopwatch:
    """Laps of consecutive parts: between CUDA events on a GPU, by the host's clock on a CPU.

    Does not synchronize with the device before `times` is called.

    Args:
        device: where the parts run.
        host_time: measure by the host's clock on a GPU too: time until a part is launched. Every
            lap then begins with an idle GPU; otherwise the launches of earlier parts would fill
            the queue and block the host.
    """

    def __init__(self, device: torch.device, host_time: bool = False) -> None:
        self.synchronizes = host_time and device.type == "cuda"
        self.by_events = not host_time and device.type == "cuda"
        self.repeats: list[list[tuple[str, bool, Mark, Mark]]] = []
        self.start()

    def new_repeat(self) -> None:
        """Begins a repeat: following laps belong to it."""
        self.repeats.append([])

    def start(self) -> None:
        """Begins a lap."""
        if self.synchronizes:
            torch.cuda.synchronize()
        self.last = self._now()

    def lap(self, part: str, forward: bool = False) -> None:
        """Ends a lap, adds it to a part, and begins the next.

        Args:
            part: name of the part.
            forward: whether the lap is the forward pass of a loss.
        """
        now = self._now()
        self.repeats[-1].append((part, forward, self.last, now))
        self.last = now
        if self.synchronizes:
            self.start()

    def times(self) -> dict[str, PartTimes]:
        """Times by part, laps of a repeat summed. Synchronizes with the device."""
        if self.by_events:
            torch.cuda.synchronize()
        found: dict[str, PartTimes] = defaultdict(PartTimes)
        for laps in self.repeats:
            for name in dict.fromkeys(lap[0] for lap in laps):
                own = [lap for lap in laps if lap[0] == name]
                found[name].ms.append(sum(_elapsed_ms(*lap[2:]) for lap in own))
                found[name].forward_ms.append(sum(_elapsed_ms(*lap[2:]) for lap in own if lap[1]))
        return dict(found)

    def _now(self) -> Mark:
        if not self.by_events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _elapsed_ms(before: Mark, after: Mark) -> float:
    if isinstance(before, float) and isinstance(after, float):
        return 1e3 * (after - before)
    assert not isinstance(before, float)  # all laps use one clock
    assert not isinstance(after, float)
    return before.elapsed_time(after)
