"""Results of bench/inference.py: rows, a summary per method, and notes."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lib.arguments import SIDE
from lib.inference.passes import LOCALIZER
from lib.machine import MAX_OTHERS_PERCENT, is_disturbed

# Table 4, ResNet50 at 224×224 on an A100: ms of a batch of one frame, best frames/s.
PUBLISHED = {LOCALIZER: (10.11, 464.0), "layercam": (19.99, 128.0)}
PUBLISHED_ABOUT = "CoLo-CAM paper, Table 4: ResNet50 at 224×224 on an A100"


@dataclass(frozen=True)
class Row:
    """One method at one batch size. None: not measured or not available.

    Attributes:
        method: "localizer", or a CAM's name.
        batch_size: frames per pass.
        repeats: number of timed passes.
        ms: median time of a pass; on a GPU between CUDA events.
        p95_ms: 95th percentile of the time of a pass.
        frames_per_s: batch size over the median.
        wait_ms: median time of a pass with synchronization; on a GPU, one frame.
        graph_ms: median time of a pass as a CUDA graph; on a GPU, one frame.
        peak_mb: peak memory of a pass beyond model and frames, 10^6 bytes.
        gflops: operations of a pass, 10^9.
        floor_ms: lower bound: operations over the peak rate.
        floor_percent: `floor_ms` over `ms`.
        others_cpu_percent: CPU use of other processes during the measurement.
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
    """95th percentile of two or more values, by linear interpolation."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


@dataclass(frozen=True)
class Summary:
    """One method: latency of one frame, and best throughput. None: not available.

    Attributes:
        method: "localizer", or a CAM's name.
        ms, p95_ms, wait_ms, graph_ms: of a batch of one frame, see `Row`.
        frames_per_s: best throughput.
        batch_size: of the best throughput.
        peak_mb: at that batch size.
        gflops: per frame.
        floor_ms: per frame.
        floor_percent: `floor_ms` over `ms`, one frame.
        best_floor_percent: the same at the best throughput.
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
    """Summarizes each method; every method has a row of batch size 1."""
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
    "p95_ms": "95th percentile, ms",
    "wait_ms": "synchronized, ms",
    "graph_ms": "graph, ms",
    "frames_per_s": "best frames/s",
    "batch_size": "at batch size",
    "peak_mb": "peak MB",
    "gflops": "GFLOP per frame",
    "floor_ms": "floor per frame, ms",
    "floor_percent": "floor / time, one frame, %",
    "best_floor_percent": "floor / time, best, %",
    "published_ms": "published one frame, ms",
    "published_frames_per_s": "published best frames/s",
}


def notes(rows: Sequence[Row], summaries: Sequence[Summary]) -> list[str]:
    """Notes below the table."""
    lines = [
        "Medians; frames are on the device before a pass, and memory excludes model and frames. "
        "Synchronized: until the host is notified of the end. Weights are random; the time does "
        "not depend on them.",
        "Floor: operations of convolutions and matrix products over the faster of the two rates "
        "above.",
        "CAMs: of the most probable class at the last feature map, which needs no backward pass.",
    ]
    disturbed = [row for row in rows if is_disturbed(row.others_cpu_percent)]
    if disturbed:
        named = ", ".join(f"{row.method} at batch size {row.batch_size}" for row in disturbed)
        lines.append(
            f"Invalid rows: {named}: other processes used more than {MAX_OTHERS_PERCENT} % of the "
            "CPU."
        )
    if any(summary.published_ms for summary in summaries):
        lines.append(f"Published: {PUBLISHED_ABOUT}.")
    return lines
