"""The parts of a step of stage 2 as rows, and what is said about them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lib.floor import in_words
from lib.machine import distrust, headline
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
    """One part of a step. None: not measured, or does not exist.

    Attributes:
        part: its name.
        in_sum: whether it is one of the parts that make up the step.
        ms: median time; of the input the mean.
        min_ms, max_ms: fastest and slowest repeat.
        forward_ms: median of its forward pass, of a loss.
        host_ms: on a GPU, median time until the host has issued it, if nothing holds it up.
        step_percent: share of the whole step.
        floor_ms: least time.
        floor_percent: the floor's share of `ms`.
        note: what the floor is of, and whatever else has to be known.
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
    "floor_percent": "its share %",
    "note": "note",
}


def make_rows(times: StepTimes, input_ms: Sequence[float], setting: Setting) -> list[Row]:
    """Input, parts, their sum, the whole, single terms, and the paper's time where there is one."""
    whole = statistics.median(times.by_part[WHOLE].ms)
    parts = [_of_part(part, times, whole, setting) for part in PARTS]
    workers = setting.run.config.workers
    decoding = f"workers: {workers}, beside the step" if workers else "before the step"
    rows = [
        _row(INPUT, statistics.mean(input_ms), whole, input_ms, note=f"mean; {decoding}"),
        *parts,
        _row(
            SUM,
            sum(row.ms for row in parts),
            whole,
            host_ms=sum(row.host_ms for row in parts) if times.of_host else None,
        ),
        *(_of_part(name, times, whole, setting) for name in (WHOLE, *ALONE_PARTS)),
    ]
    if setting.published:
        note = f"A100, hybrid; baseline {PUBLISHED['baseline_ms']:.0f} ms"
        rows.append(_row(f"{WHOLE}, published", PUBLISHED["whole_ms"], None, note=note))
    return rows


def _of_part(part: str, times: StepTimes, whole: float, setting: Setting) -> Row:
    own, of_host = times.by_part[part], times.of_host.get(part)
    is_loss = part == LOSSES or part in ALONE_PARTS
    return _row(
        part,
        statistics.median(own.ms),
        whole,
        own.ms,
        setting.floors.get(part),
        in_sum=part in PARTS,
        forward_ms=statistics.median(own.forward_ms) if is_loss else None,
        host_ms=None if of_host is None else statistics.median(of_host.ms),
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
    """What the name of a part does not say."""
    config = setting.run.config
    return {
        COPY: "from pinned memory; crop, flip" if setting.on_gpu else "crop, flip",
        CAM: f"{config.cam}, upsampled and normalized",
        SEEDS: "Otsu, region of interest, sampling",
        LOSSES: "all four, and their gradient on the maps",
        OPTIMIZER: "with the look at all gradients, and what begins a step",
        WHOLE: "as training takes it",
        "crf alone": config.spatial_method,
        "coloc alone": config.joint_method,
    }.get(part, "")


def heading(result: dict[str, object]) -> str:
    """What stands above the table: machine and setting."""
    compiled, deterministic = (
        word if result[word] else f"not {word}" for word in ("compiled", "deterministic")
    )
    return (
        f"{headline(result['machine'], result['device'])}; {result['encoder']}, "
        f"{result['frames']} frames of {result['size']}×{result['size']} in {result['sequences']} "
        f"sequences, {result['dtype']}, {result['memory_format'].replace('_', '-')}, {compiled}, "
        f"{deterministic}; {in_words(result['flops_per_s'])}, "
        f"{result['copy_bytes_per_s'] / 1e9:.1f} GB/s copied; {result['data']}."
    )


def notes(result: dict[str, object]) -> list[str]:
    """What a reader of the table has to know."""
    peak = result["peak_mb"]
    memory = "" if peak is None else f"; peak memory {peak:,.0f} MB beyond what a step finds there"
    lines = [
        f"{result['frames_per_s']:.3g} frames/s{memory}. The parts sum up to "
        f"{result['sum_percent']:.1f} % of the whole step; the CRF terms together are "
        f"{result['crf_percent']:.1f} % of it.",
        f"Medians of {result['repeats']} repeats. Terms alone, and the two of them together, are "
        "within the losses, each with a softmax of its own: forward and gradient on the maps.",
        "Floor: operations at the faster rate above; bytes (everything read once, everything "
        "written once) over the copy bandwidth.",
        "Weights are random, and the batch is the same in every repeat: time hardly depends on "
        "either.",
    ]
    if result["host_sync"] is not None:
        where = f", first at {result['host_sync_at']}" if result["host_sync"] else ""
        lines.append(f"A step waits for the GPU: {'yes' if result['host_sync'] else 'no'}{where}.")
        lines.append(
            "Host: until a part was issued to an idle GPU; where that nears the time, the GPU "
            "waits for the host."
        )
    return lines + _warnings(result)


def _warnings(result: dict[str, object]) -> list[str]:
    """What sets this result apart from others."""
    lines = []
    if result["frames"] < result["batch_size"]:
        lines.append(f"The batch has {result['frames']} frames, not {result['batch_size']}.")
    if result["steps_left_out"]:
        lines.append(
            f"{result['steps_left_out']} steps had a gradient that was not finite, and did not "
            "move the weights."
        )
    lines += distrust(result["others_cpu_percent"])
    if result["published"]:
        lines.append(f"Published: {PUBLISHED_ABOUT}.")
    return lines
