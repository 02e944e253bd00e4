"""Tables of evaluation summaries, seed CAM and method side by side: terminal, Markdown, page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Columns = Mapping[str, Mapping[str, Any]]
"""Column names, and the `CorLoc.summary()` of each column; all summaries are of the same frames.

The baselines come first, the method last: box around the centre, seed CAM, localizer; for a
classifier, the seed CAM is last.
"""

SEED_CAM = "seed CAM"  # name of its column

TITLE = "CorLoc in % at IoU 0.5"
PROTOCOLS = "All protocols, in % (these: the evaluated frames; mean: over IoU 0.3, 0.5, 0.7)"
SIZES = (
    "By object size: thirds of the frames by the share of the image that the largest box covers, "
    "% of frames correct at IoU 0.5 (threshold per class)"
)
CURVE = "By threshold: CorLoc in % at IoU 0.5 with one threshold for all classes"
LOWEST = 10  # number of videos shown


@dataclass(frozen=True)
class Cells:
    """Cells of a table.

    Attributes:
        title: shown above the table; None: no title.
        rows: the header first.
        note: shown below the table; may be empty.
        sums_up: whether the last row is a mean or total.
    """

    title: str | None
    rows: Sequence[Sequence[str]]
    note: str = ""
    sums_up: bool = False


def corloc_cells(columns: Columns, title: str = TITLE) -> Cells:
    """CorLoc by class, with the mean as last row.

    If no frame has boxes, one row shows the classification accuracy instead.

    Args:
        columns: summaries.
        title: of the table.
    """
    *_, method = columns.values()
    header = ["class", "frames", *columns]
    if method["corloc"] is None:
        accuracies = [_percent(one["classification_accuracy"]) for one in columns.values()]
        header[0] = ""
        row = ["classification accuracy in %", str(method["frames"]), *accuracies]
        return Cells(None, [header, row], sums_up=True)
    rows = [
        [
            name,
            str(entry["frames"]),
            *(_percent(one["per_class"][name]["corloc"]) for one in columns.values()),
        ]
        for name, entry in method["per_class"].items()
    ]
    frames = sum(entry["frames"] for entry in method["per_class"].values())
    means = [_percent(one["corloc"]["0.5"]) for one in columns.values()]
    return Cells(title, [header, *rows, ["mean", str(frames), *means]], sums_up=True)


def protocol_cells(columns: Columns) -> Cells:
    """One row per protocol: source of the threshold, IoU, numbers.

    Args:
        columns: summaries of frames with boxes.
    """

    def row(name: str, threshold: str, at: str, *values: float | None) -> list[str]:
        return [name, threshold, at, *map(_percent, values)]

    *_, method = every = list(columns.values())
    honest = [one["corloc_honest"] and one["corloc_honest"]["0.5"] for one in every]
    rows = [
        ["protocol", "threshold", "IoU", *columns],
        *(
            row("published", "per class, on these", at, *(one["corloc"][at] for one in every))
            for at in method["corloc"]
        ),
        row("honest", "one, on validation", "0.5", *honest),
        row("version 2 (all contours)", "per class, on these", "mean",
            *(one["corloc_v2"] for one in every)),
        row("top-1 localization", "as published", "0.5", *(one["top1_loc"] for one in every)),
        row("top-5 localization", "as published", "0.5", *(one["top5_loc"] for one in every)),
        row("classification", "", "", *(one["classification_accuracy"] for one in every)),
    ]  # fmt: skip
    return Cells(PROTOCOLS, rows, _honest_note(columns))


def detection_cells(metrics: Mapping[str, Mapping[str, float | None]]) -> Cells:
    """One row per metric of several boxes per frame, one column per choice of the boxes.

    Args:
        metrics: `colocam.evaluation.coco.detection_metrics` by name of the choice.
    """

    def row(name: str, key: str) -> list[str]:
        return [name, *(_percent(one[key]) for one in metrics.values())]

    counts = [f"{one['boxes_per_frame']:.2f}" for one in metrics.values()]
    rows = [
        ["IoU 0.5", *metrics],
        row("COCO AP50", "ap50"),
        row("COCO AP50, class-agnostic", "ap50_class_agnostic"),
        row("CorLoc, any of the boxes", "corloc"),
        row("recall", "recall"),
        row("recall, frames with several boxes", "recall_several"),
        ["boxes per frame", *counts],
    ]
    return Cells(
        "Boxes per frame: of the largest region, of all, %", rows, "one threshold, on validation"
    )


def breakdown_cells(columns: Columns) -> list[Cells]:
    """CorLoc by object size, by threshold, and of the videos where it is lowest.

    Args:
        columns: summaries of frames with boxes.
    """
    *_, method = columns.values()
    tables = [_size_cells(columns), _curve_cells(columns)]
    if method["per_video"]:
        tables.append(_video_cells(columns))
    return tables


def all_cells(columns: Columns, title: str = TITLE) -> list[Cells]:
    """All tables; if no frame has boxes, the classification accuracy alone."""
    *_, method = columns.values()
    first = corloc_cells(columns, title)
    if method["corloc"] is None:
        return [first]
    return [first, protocol_cells(columns), *breakdown_cells(columns)]


def as_markdown(cells: Cells) -> str:
    """Markdown table below its title; ends with a newline."""
    header, *rows = cells.rows
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    table = "".join("| " + " | ".join(map(_escape, line)) + " |\n" for line in lines)
    title = "" if cells.title is None else f"**{cells.title}**\n\n"
    note = f"\n{cells.note}\n" if cells.note else ""
    return f"{title}{table}{note}"


def _honest_note(columns: Columns) -> str:
    chosen = [
        f"{one['corloc_honest']['threshold']:.3f} ({name})"
        for name, one in columns.items()
        if one["corloc_honest"]
    ]
    if not chosen:
        return "No threshold was chosen on validation, so there is no honest CorLoc."
    return f"Thresholds chosen on validation: {', '.join(chosen)}."


def _size_cells(columns: Columns) -> Cells:
    *_, method = columns.values()
    rows = [["size", "share of the image", "frames", *columns]]
    for name, entry in method["by_size"].items():
        extent = "-"
        if entry["area"] is not None:
            low, high = entry["area"]
            extent = f"{100 * low:.1f} to {100 * high:.1f} %"
        shares = [_percent(one["by_size"][name]["corloc"]) for one in columns.values()]
        rows.append([name, extent, str(entry["frames"]), *shares])
    return Cells(SIZES, rows)


def _curve_cells(columns: Columns) -> Cells:
    *_, method = columns.values()
    thresholds = method["threshold_curve"]["threshold"]
    curves = [one["threshold_curve"]["0.5"] for one in columns.values()]
    rows = [
        [f"{thresholds[place]:.1f}", *(_percent(curve[place]) for curve in curves)]
        for place in range(0, len(thresholds), 10)
    ]
    return Cells(CURVE, [["threshold", *columns], *rows])


def _video_cells(columns: Columns) -> Cells:
    *_, method = columns.values()
    entries = method["per_video"]
    hardest = sorted(entries, key=lambda video: (entries[video]["corloc"], video))[:LOWEST]
    rows = [
        [
            video,
            str(entries[video]["frames"]),
            *(_percent(one["per_video"][video]["corloc"]) for one in columns.values()),
        ]
        for video in hardest
    ]
    title = (
        f"Videos with the lowest CorLoc ({len(rows)} of {len(entries)}), % of frames correct at "
        "IoU 0.5 (threshold per class)"
    )
    return Cells(title, [["video", "frames", *columns], *rows])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")
