"""Times of consecutive parts of a piece of work, repeat after repeat."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

import torch

Mark = float | torch.cuda.Event


@dataclass
class PartTimes:
    """Of every repeat: ms of a part, and of it forward (losses only)."""

    ms: list[float] = field(default_factory=list)
    forward_ms: list[float] = field(default_factory=list)


class Stopwatch:
    """Laps of consecutive parts: between events on a GPU's stream, by the host's clock elsewhere.

    Nothing waits for the device before the times are asked for.

    Args:
        device: where the parts run.
        of_host: by the host's clock on a GPU too: how long until a part is issued. Then every lap
            begins with an idle GPU: the launches of earlier parts would fill the queue, and the
            host would wait for room in it.
    """

    def __init__(self, device: torch.device, of_host: bool = False) -> None:
        self.drains = of_host and device.type == "cuda"
        self.by_events = not of_host and device.type == "cuda"
        self.repeats: list[list[tuple[str, bool, Mark, Mark]]] = []
        self.start()

    def new_repeat(self) -> None:
        """What follows is of the next one."""
        self.repeats.append([])

    def start(self) -> None:
        """The next lap begins here."""
        if self.drains:
            torch.cuda.synchronize()
        self.last = self._now()

    def lap(self, part: str, forward: bool = False) -> None:
        """What was done since the last lap, or the start, belongs to `part`; the next begins."""
        now = self._now()
        self.repeats[-1].append((part, forward, self.last, now))
        self.last = now
        if self.drains:
            self.start()

    def times(self) -> dict[str, PartTimes]:
        """By part; its laps in a repeat are added up. Waits for the device."""
        if self.by_events:
            torch.cuda.synchronize()
        found: dict[str, PartTimes] = defaultdict(PartTimes)
        for laps in self.repeats:
            for name in dict.fromkeys(lap[0] for lap in laps):
                own = [lap for lap in laps if lap[0] == name]
                found[name].ms.append(sum(_between(*lap[2:]) for lap in own))
                found[name].forward_ms.append(sum(_between(*lap[2:]) for lap in own if lap[1]))
        return dict(found)

    def _now(self) -> Mark:
        if not self.by_events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _between(before: Mark, after: Mark) -> float:
    """Milliseconds."""
    if isinstance(before, float):
        return 1e3 * (after - before)
    return before.elapsed_time(after)
