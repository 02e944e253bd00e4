"""Passes of inference as rows, a summary of each method, and what is said about them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lib.inference.passes import LOCALIZER
from lib.machine import QUIET_PERCENT, disturbing

SIDE = 224
# Table 4, on an A100, of a ResNet50 at 224×224: ms of one frame alone, frames/s at best.
PUBLISHED = {LOCALIZER: (10.11, 464.0), "layercam": (19.99, 128.0)}
PUBLISHED_ABOUT = "CoLo-CAM paper, Table 4: ResNet50 at 224×224 on an A100"


@dataclass(frozen=True)
class Row:
    """One method at one batch size. None: not measured, or does not exist.

    Attributes:
        method: "localizer", or a CAM's name.
        batch_size: frames a pass.
        repeats: passes timed.
        ms: median time of a pass; on a GPU between events on its stream.
        p95_ms: that 95 % of the repeats do not exceed.
        frames_per_s: batch size over the median.
        wait_ms: median of a pass from its call until the host knows that it is done; on a GPU, one
            frame.
        graph_ms: median of a pass replayed as a CUDA graph; one frame.
        peak_mb: peak memory of a pass beyond model and frames, 10^6 bytes.
        gflops: operations of a pass, 10^9.
        floor_ms: these at the machine's rate.
        floor_percent: the floor's share of the median.
        others_cpu_percent: share of the CPU that other processes took meanwhile.
    """

    method: str
    batch_size: int
    repeats: int
    ms: float
    p95_ms: float
    frames_per_s: float
    wait_ms: float | None
    graph_ms: float | None
    peak_mb: float | None
    gflops: float
    floor_ms: float
    floor_percent: float
    others_cpu_percent: float | None


def percentile_95(values: Sequence[float]) -> float:
    """Interpolated between the values, two or more."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


@dataclass(frozen=True)
class Summary:
    """One method: one frame alone, and many at once at their fastest. None: does not exist.

    Attributes:
        method: "localizer", or a CAM's name.
        ms, p95_ms, wait_ms, graph_ms: of one frame alone, see `Row`.
        frames_per_s: at best.
        batch_size: where that is.
        peak_mb: there.
        gflops: a frame.
        floor_ms: a frame.
        floor_percent: the floor's share of the median, of one frame alone.
        best_floor_percent: the same at best.
        published_ms, published_frames_per_s: see `PUBLISHED_ABOUT`.
    """

    method: str
    ms: float
    p95_ms: float
    wait_ms: float | None
    graph_ms: float | None
    frames_per_s: float
    batch_size: int
    peak_mb: float | None
    gflops: float
    floor_ms: float
    floor_percent: float
    best_floor_percent: float
    published_ms: float | None
    published_frames_per_s: float | None


def summarize(rows: Sequence[Row], encoder: str, size: int) -> list[Summary]:
    """A summary a method, of rows that hold each at batch size 1."""
    summaries = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        (alone,) = (row for row in own if row.batch_size == 1)
        best = max(own, key=lambda row: row.frames_per_s)
        known = PUBLISHED.get(method) if (encoder, size) == ("resnet50", SIDE) else None
        published = known or (None, None)
        summaries.append(
            Summary(
                method=method,
                ms=alone.ms,
                p95_ms=alone.p95_ms,
                wait_ms=alone.wait_ms,
                graph_ms=alone.graph_ms,
                frames_per_s=best.frames_per_s,
                batch_size=best.batch_size,
                peak_mb=best.peak_mb,
                gflops=alone.gflops,
                floor_ms=alone.floor_ms,
                floor_percent=alone.floor_percent,
                best_floor_percent=best.floor_percent,
                published_ms=published[0],
                published_frames_per_s=published[1],
            )
        )
    return summaries


HEADS = {
    "method": "method",
    "ms": "one frame, ms",
    "p95_ms": "95 % within, ms",
    "wait_ms": "waited for, ms",
    "graph_ms": "graph, ms",
    "frames_per_s": "best frames/s",
    "batch_size": "at batch size",
    "peak_mb": "peak MB there",
    "gflops": "GFLOPs a frame",
    "floor_ms": "floor a frame, ms",
    "floor_percent": "its share alone, %",
    "best_floor_percent": "its share at best, %",
    "published_ms": "published one frame, ms",
    "published_frames_per_s": "published best frames/s",
}


def notes(rows: Sequence[Row], summaries: Sequence[Summary]) -> list[str]:
    """What a reader of the table has to know."""
    lines = [
        "Medians; frames are on the device already, and memory is beyond model and frames. Waited "
        "for: until the host knows of the end. Weights are random: time does not depend on them.",
        "Floor: convolutions and matrix products at the faster of the two rates above; the shares "
        "are the floor's of the time, of one frame alone and at best.",
        "CAMs: of the most probable class at the last feature map, where none needs a backward "
        "pass.",
    ]
    disturbed = [row for row in rows if disturbing(row.others_cpu_percent)]
    if disturbed:
        named = ", ".join(f"{row.method} at batch size {row.batch_size}" for row in disturbed)
        lines.append(
            f"Do not trust {named}: other processes took more than {QUIET_PERCENT} % of the CPU."
        )
    if any(summary.published_ms for summary in summaries):
        lines.append(f"Published: {PUBLISHED_ABOUT}.")
    return lines
