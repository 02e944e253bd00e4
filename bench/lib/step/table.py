"""Results of bench/train_step.py: rows, heading and notes."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.machine import disturbance_note, headline
from lib.roofline import format_rates
from lib.step.floors import Floor
from lib.step.parts import (
    ALONE_PARTS,
    CAM,
    COPY,
    LOSSES,
    OPTIMIZER,
    PARTS,
    SEEDS,
    WHOLE,
    StepTimes,
)
from lib.step.setting import PUBLISHED, PUBLISHED_ABOUT, Setting

INPUT, SUM = "input: frames to a batch", "sum of the parts"


@dataclass(frozen=True)
class Row:
    """One part of a step. None: not measured or not available.

    Attributes:
        part: its name.
        in_sum: whether it is one of the consecutive parts of the step.
        ms: median time; mean for the input.
        min_ms, max_ms: fastest and slowest repeat.
        forward_ms: median of the forward pass of a loss.
        host_ms: on a GPU, median host time until it is launched on an idle GPU.
        step_percent: share of the whole step.
        floor_ms: lower bound (see `lib.step.floors`).
        floor_percent: `floor_ms` over `ms`.
        note: operations or bytes of the floor, and details.
    """

    part: str
    in_sum: bool
    ms: float
    min_ms: float | None
    max_ms: float | None
    forward_ms: float | None
    host_ms: float | None
    step_percent: float | None
    floor_ms: float | None
    floor_percent: float | None
    note: str


HEADS = {
    "part": "part",
    "ms": "ms",
    "forward_ms": "forward ms",
    "host_ms": "host ms",
    "step_percent": "% of step",
    "floor_ms": "floor ms",
    "floor_percent": "floor / time, %",
    "note": "note",
}


def make_rows(times: StepTimes, input_ms: Sequence[float], setting: Setting) -> list[Row]:
    """Rows: input, parts, their sum, whole step, single terms, published time if available."""
    whole = statistics.median(times.by_part[WHOLE].ms)
    parts = [_of_part(part, times, whole, setting) for part in PARTS]
    workers = setting.run.config.workers
    decoding = f"workers: {workers}, parallel to the step" if workers else "before the step"
    rows = [
        _row(INPUT, statistics.mean(input_ms), whole, input_ms, note=f"mean; {decoding}"),
        *parts,
        _row(
            SUM,
            sum(row.ms for row in parts),
            whole,
            host_ms=sum(row.host_ms or 0.0 for row in parts) if times.host else None,
        ),
        *(_of_part(name, times, whole, setting) for name in (WHOLE, *ALONE_PARTS)),
    ]
    if setting.published:
        note = f"A100, hybrid; baseline {PUBLISHED['baseline_ms']:.0f} ms"
        rows.append(_row(f"{WHOLE}, published", PUBLISHED["whole_ms"], None, note=note))
    return rows


def _of_part(part: str, times: StepTimes, whole: float, setting: Setting) -> Row:
    own, host = times.by_part[part], times.host.get(part)
    is_loss = part == LOSSES or part in ALONE_PARTS
    return _row(
        part,
        statistics.median(own.ms),
        whole,
        own.ms,
        setting.floors.get(part),
        in_sum=part in PARTS,
        forward_ms=statistics.median(own.forward_ms) if is_loss else None,
        host_ms=None if host is None else statistics.median(host.ms),
        note=_about(part, setting),
    )


def _row(
    part: str,
    ms: float,
    whole: float | None,
    repeats: Sequence[float] | None = None,
    floor: Floor | None = None,
    in_sum: bool = False,
    forward_ms: float | None = None,
    host_ms: float | None = None,
    note: str = "",
) -> Row:
    return Row(
        part=part,
        in_sum=in_sum,
        ms=ms,
        min_ms=min(repeats) if repeats else None,
        max_ms=max(repeats) if repeats else None,
        forward_ms=forward_ms,
        host_ms=host_ms,
        step_percent=None if whole is None else 100 * ms / whole,
        floor_ms=None if floor is None else floor.ms,
        floor_percent=None if floor is None else 100 * floor.ms / ms,
        note="; ".join(filter(None, (note, floor.about if floor else ""))),
    )


def _about(part: str, setting: Setting) -> str:
    """Details of a part."""
    config = setting.run.config
    return {
        COPY: "from pinned memory; crop, flip" if setting.on_gpu else "crop, flip",
        CAM: f"{config.cam}, upsampled and normalized",
        SEEDS: "Otsu, region of interest, sampling",
        LOSSES: "all four, and their gradient on the maps",
        OPTIMIZER: "with the check of all gradients and the preparation of a step",
        WHOLE: "as in training",
        "crf alone": config.spatial_method,
        "coloc alone": config.joint_method,
    }.get(part, "")


def heading(result: Mapping[str, Any]) -> str:
    """Line above the table: machine and setting."""
    compiled, deterministic = (
        word if result[word] else f"not {word}" for word in ("compiled", "deterministic")
    )
    return (
        f"{headline(result['machine'], result['device'])}; {result['encoder']}, "
        f"{result['frames']} frames of {result['size']}×{result['size']} in {result['sequences']} "
        f"sequences, {result['dtype']}, {result['memory_format'].replace('_', '-')}, {compiled}, "
        f"{deterministic}; {format_rates(result['flops_per_s'])}, "
        f"{result['copy_bytes_per_s'] / 1e9:.1f} GB/s copied; {result['data']}."
    )


def notes(result: Mapping[str, Any]) -> list[str]:
    """Notes below the table."""
    peak = result["peak_mb"]
    memory = (
        ""
        if peak is None
        else f"; peak memory {peak:,.0f} MB beyond what is allocated before a step"
    )
    lines = [
        f"{result['frames_per_s']:.3g} frames/s{memory}. The sum of the parts is "
        f"{result['sum_percent']:.1f} % of the whole step; the CRF terms together are "
        f"{result['crf_percent']:.1f} % of it.",
        f"Medians of {result['repeats']} repeats. Rows `alone` and `crf and coloc` are part of the "
        "losses, each with its own softmax: forward pass and gradient on the maps.",
        "Floor: operations over the faster rate above; bytes (inputs read once, results written "
        "once) over the copy bandwidth.",
        "Weights are random and the batch is the same in every repeat; the time hardly depends on "
        "either.",
    ]
    if result["host_sync"] is not None:
        where = f", first at {result['host_sync_at']}" if result["host_sync"] else ""
        answer = "yes" if result["host_sync"] else "no"
        lines.append(f"A step synchronizes with the GPU: {answer}{where}.")
        lines.append(
            "Host: time until a part is launched on an idle GPU; close to the time of the part, "
            "launch overhead bounds it."
        )
    return lines + _warnings(result)


def _warnings(result: Mapping[str, Any]) -> list[str]:
    """Notes on what limits the comparison with other results."""
    lines = []
    if result["frames"] < result["batch_size"]:
        lines.append(f"The batch has {result['frames']} frames, not {result['batch_size']}.")
    if result["steps_left_out"]:
        lines.append(f"{result['steps_left_out']} steps were skipped: a gradient was not finite.")
    lines += disturbance_note(result["others_cpu_percent"])
    if result["published"]:
        lines.append(f"Published: {PUBLISHED_ABOUT}.")
    return lines
