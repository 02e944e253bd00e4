"""CorLoc of the method beside its seed CAM's, as a table for the terminal and for Markdown."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

TITLE = "CorLoc in % at IoU 0.5"


def corloc_table(
    summary: Mapping[str, Any],
    baseline_summary: Mapping[str, Any],
    title: str = TITLE,
    method: str = "CoLo-CAM",
) -> Table:
    """Per class: frames with boxes, CorLoc of the seed CAM and of the method; last row the mean.

    Without any boxes there is no CorLoc: one row gives the classification accuracy instead.

    Args:
        summary: the method's `CorLoc.summary()`.
        baseline_summary: the seed CAM's, on the same frames.
        title: printed above the table.
        method: heads the method's column.
    """
    header, *rows = _cells(summary, baseline_summary, method)
    table = Table(title=Text(title) if summary["corloc"] else None)
    for column, name in enumerate(header):
        table.add_column(Text(name), justify="left" if column == 0 else "right")
    for row in rows[:-1]:
        table.add_row(*map(Text, row))  # as text: a name is no markup
    table.add_section()
    table.add_row(*map(Text, rows[-1]), style="bold")
    return table


def corloc_markdown(
    summary: Mapping[str, Any],
    baseline_summary: Mapping[str, Any],
    title: str = TITLE,
    method: str = "CoLo-CAM",
) -> str:
    """The same as `corloc_table`, as a Markdown table under its title; ends with a newline."""
    header, *rows = _cells(summary, baseline_summary, method)
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    table = "".join("| " + " | ".join(_escape(cell) for cell in line) + " |\n" for line in lines)
    return f"**{title}**\n\n{table}" if summary["corloc"] else table


def _cells(summary: Mapping[str, Any], baseline: Mapping[str, Any], method: str) -> list[list[str]]:
    """Header, one row a class, and the row of means (or of classification accuracy)."""
    header = ["class", "frames", "seed CAM", method]
    if summary["corloc"] is None:
        accuracies = [_percent(one["classification_accuracy"]) for one in (baseline, summary)]
        header[0] = ""
        return [header, ["classification accuracy in %", str(summary["frames"]), *accuracies]]
    rows = [
        [
            name,
            str(entry["frames"]),
            _percent(baseline["per_class"][name]["corloc"]),
            _percent(entry["corloc"]),
        ]
        for name, entry in summary["per_class"].items()
    ]
    frames = sum(entry["frames"] for entry in summary["per_class"].values())
    means = [_percent(one["corloc"]["0.5"]) for one in (baseline, summary)]
    return [header, *rows, ["mean", str(frames), *means]]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")
