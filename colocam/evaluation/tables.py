"""The numbers of a method beside its seed CAM's, as tables for the terminal and for Markdown."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

TITLE = "CorLoc in % at IoU 0.5"
LOWEST = 10  # videos shown, those with the lowest CorLoc
Summary = Mapping[str, Any]


def corloc_table(
    summary: Summary, baseline_summary: Summary, title: str = TITLE, method: str = "CoLo-CAM"
) -> Table:
    """Per class: frames with boxes, CorLoc of the seed CAM and of the method; last row the mean.

    Without any boxes there is no CorLoc: one row gives the classification accuracy instead.

    Args:
        summary: the method's `CorLoc.summary()`.
        baseline_summary: the seed CAM's, on the same frames.
        title: printed above the table.
        method: heads the method's column.
    """
    cells = _class_cells(summary, baseline_summary, method)
    table = _table(title if summary["corloc"] else None, cells[:-1])
    table.add_section()
    table.add_row(*map(Text, cells[-1]), style="bold")
    return table


def corloc_markdown(
    summary: Summary, baseline_summary: Summary, title: str = TITLE, method: str = "CoLo-CAM"
) -> str:
    """The same as `corloc_table`, as a Markdown table under its title; ends with a newline."""
    cells = _class_cells(summary, baseline_summary, method)
    return _markdown(title if summary["corloc"] else None, cells)


PROTOCOLS = "Every protocol, in % (these: the evaluated frames; mean: of IoU 0.3, 0.5, 0.7)"


def protocol_table(summary: Summary, baseline: Summary, method: str = "CoLo-CAM") -> Table:
    """All protocols side by side, one row each: where its threshold is from, IoU, both numbers.

    Args:
        summary: the method's `CorLoc.summary()`, of frames with boxes.
        baseline: the seed CAM's, on the same frames.
        method: heads the method's column.
    """
    table = _table(PROTOCOLS, _protocol_cells(summary, baseline, method))
    table.caption = Text(_honest_note(summary, baseline, method))
    return table


def protocol_markdown(summary: Summary, baseline: Summary, method: str = "CoLo-CAM") -> str:
    """The same as `protocol_table`, as Markdown; ends with a newline."""
    table = _markdown(PROTOCOLS, _protocol_cells(summary, baseline, method))
    return f"{table}\n{_honest_note(summary, baseline, method)}\n"


def breakdown_markdown(summary: Summary, baseline: Summary, method: str = "CoLo-CAM") -> str:
    """CorLoc by size of the object, along the threshold, and of the hardest videos, as Markdown.

    Args:
        summary: the method's `CorLoc.summary()`, of frames with boxes.
        baseline: the seed CAM's, on the same frames.
        method: heads the method's column.
    """
    tables = [
        _markdown(
            "By size of the object: thirds by the share of the image that the largest box covers, "
            "% of frames right at IoU 0.5 (threshold per class)",
            _size_cells(summary, baseline, method),
        ),
        _markdown(
            "By threshold: CorLoc in % at IoU 0.5 with one threshold for all classes",
            _curve_cells(summary, baseline, method),
        ),
    ]
    if summary["per_video"]:
        cells = _video_cells(summary, baseline, method)
        shown = f"{len(cells) - 1} of {len(summary['per_video'])}"
        title = f"Videos with the lowest CorLoc ({shown}), % of frames right at IoU 0.5"
        tables.append(_markdown(f"{title} (threshold per class)", cells))
    return "\n".join(tables)


def _class_cells(summary: Summary, baseline: Summary, method: str) -> list[list[str]]:
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


def _protocol_cells(summary: Summary, baseline: Summary, method: str) -> list[list[str]]:
    def row(name: str, threshold: str, at: str, *values: float | None) -> list[str]:
        return [name, threshold, at, *map(_percent, values)]

    both = (baseline, summary)
    honest = [one["corloc_honest"] and one["corloc_honest"]["0.5"] for one in both]
    return [
        ["protocol", "threshold", "IoU", "seed CAM", method],
        *(
            row("published", "per class, on these", at, *(one["corloc"][at] for one in both))
            for at in summary["corloc"]
        ),
        row("honest", "one, on validation", "0.5", *honest),
        row("version 2 (all contours)", "per class, on these", "mean",
            *(one["corloc_v2"] for one in both)),
        row("top-1 localization", "as published", "0.5", *(one["top1_loc"] for one in both)),
        row("top-5 localization", "as published", "0.5", *(one["top5_loc"] for one in both)),
        row("classification", "", "", *(one["classification_accuracy"] for one in both)),
    ]  # fmt: skip


def _honest_note(summary: Summary, baseline: Summary, method: str) -> str:
    chosen = [
        f"{one['corloc_honest']['threshold']:.3f} ({name})"
        for name, one in (("seed CAM", baseline), (method, summary))
        if one["corloc_honest"]
    ]
    if not chosen:
        return "No threshold was chosen on validation, so there is no honest CorLoc."
    return f"Thresholds chosen on validation: {', '.join(chosen)}."


def _size_cells(summary: Summary, baseline: Summary, method: str) -> list[list[str]]:
    rows = [["size", "share of the image", "frames", "seed CAM", method]]
    for name, entry in summary["by_size"].items():
        low, high = entry["area"] or (None, None)
        extent = "-" if low is None else f"{100 * low:.1f} to {100 * high:.1f} %"
        shares = [baseline["by_size"][name]["corloc"], entry["corloc"]]
        rows.append([name, extent, str(entry["frames"]), *map(_percent, shares)])
    return rows


def _curve_cells(summary: Summary, baseline: Summary, method: str) -> list[list[str]]:
    thresholds = summary["threshold_curve"]["threshold"]
    curves = [one["threshold_curve"]["0.5"] for one in (baseline, summary)]
    rows = [
        [f"{thresholds[place]:.1f}", *(_percent(curve[place]) for curve in curves)]
        for place in range(0, len(thresholds), 10)
    ]
    return [["threshold", "seed CAM", method], *rows]


def _video_cells(summary: Summary, baseline: Summary, method: str) -> list[list[str]]:
    entries = summary["per_video"]
    hardest = sorted(entries, key=lambda video: (entries[video]["corloc"], video))[:LOWEST]
    rows = [
        [
            video,
            str(entries[video]["frames"]),
            *(_percent(one["per_video"][video]["corloc"]) for one in (baseline, summary)),
        ]
        for video in hardest
    ]
    return [["video", "frames", "seed CAM", method], *rows]


def _table(title: str | None, cells: list[list[str]]) -> Table:
    table = Table(title=None if title is None else Text(title))
    for column, name in enumerate(cells[0]):
        table.add_column(Text(name), justify="left" if column == 0 else "right")
    for row in cells[1:]:
        table.add_row(*map(Text, row))  # as text: a name is no markup
    return table


def _markdown(title: str | None, cells: list[list[str]]) -> str:
    lines = [cells[0], ["---"] + ["---:"] * (len(cells[0]) - 1), *cells[1:]]
    table = "".join("| " + " | ".join(_escape(cell) for cell in line) + " |\n" for line in lines)
    return table if title is None else f"**{title}**\n\n{table}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")
