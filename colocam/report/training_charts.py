"""Training charts: the metrics of a run's log over its epochs, by stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colocam.evaluation.metric_names import FOREGROUND_SHARE, ONE_SIDED
from colocam.report.charts import Chart, Line, line_chart, ticks

LogEntry = Mapping[str, Any]
"""One line of `metrics.jsonl`: an epoch's metrics by name."""

PERCENT = (0.0, 100.0)
STAGES = {
    "classifier": "Stage 1: classifier, trained from class tags",
    "localizer": "Stage 2: localizer, trained from seeds",
}
TITLES = {
    "localization": "CorLoc on validation, %",
    "classification": "classification accuracy on validation, %",
    "total": "total loss",
    "cross-entropy": "cross-entropy",
    "pl": "partial cross-entropy",
    "crf": "spatial CRF",
    "asc": "size barrier",
    "coloc": "joint color CRF (−λ under the adaptive weight)",
    FOREGROUND_SHARE: "foreground share (mean of S¹)",
    ONE_SIDED: "share of frames in collapsed videos (S¹ all foreground or all background)",
    "skipped_steps": "skipped steps",
    "frames_per_second": "frames per second",
}
NOT_CHARTED = ("stage", "epoch", "seed_cam")
CHARTED_IF_ANY = ("skipped_steps", ONE_SIDED)  # faults: 0 in most runs


@dataclass(frozen=True)
class StageCharts:
    """The charts of one training stage under their title."""

    title: str
    charts: Sequence[Chart]


def training_charts(log: Sequence[LogEntry]) -> list[StageCharts]:
    """One chart per metric of each stage in a log; stages without an epoch are skipped.

    Args:
        log: an entry per epoch, in order.
    """
    stages = []
    for stage, title in STAGES.items():
        entries = [entry for entry in log if entry["stage"] == stage]
        names = {name for entry in entries for name in entry if _is_charted(name, entries)}
        ordered = [name for name in TITLES if name in names]
        charts = [_metric_chart(name, entries) for name in [*ordered, *sorted(names - {*TITLES})]]
        if charts:
            stages.append(StageCharts(title, charts))
    return stages


def _is_charted(name: str, entries: Sequence[LogEntry]) -> bool:
    if name in NOT_CHARTED:
        return False
    return name not in CHARTED_IF_ANY or any(entry.get(name) for entry in entries)


def _metric_chart(name: str, entries: Sequence[LogEntry]) -> Chart:
    """Line chart of one metric; CorLoc is shown next to that of the seed CAM."""

    def line_of(name: str, shown: str, kind: str) -> Line:
        points = [(entry["epoch"] + 1, entry[name]) for entry in entries if name in entry]
        return Line(shown, points, kind)

    title = TITLES.get(name, name)
    lines = [line_of(name, title, "method")]
    if name == "localization":
        maps = "seed CAM" if entries[0]["stage"] == "classifier" else "S1"
        lines = [line_of("seed_cam", "seed CAM", "baseline"), line_of(name, maps, "method")]
    y_range = PERCENT if name in ("classification", "localization") else None
    if name == "frames_per_second":
        y_range = (0.0, ticks(0, max(y for _, y in lines[0].points))[-1])
    x_range = (1, entries[-1]["epoch"] + 1)
    return line_chart(title, lines, "epoch", x_range=x_range, y_range=y_range, whole_x=True)
