"""Report page: one HTML file that holds everything it shows but the overlay videos.

`write_page` turns the `Contents` of a report into the texts, charts and pictures of a `Page`, which
fills the template `templates/page.html.jinja`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from colocam.evaluation.boxes import CENTRE_BOX
from colocam.localization.drawing import GREEN, RED, Color
from colocam.report.charts import Bars, Chart, Line, bar_chart, line_chart
from colocam.report.pictures import Example, example_tiles, jpeg_url
from colocam.report.tables import Cells, Columns, all_cells
from colocam.report.templating import render
from colocam.report.training_charts import PERCENT, LogEntry, StageCharts, training_charts
from colocam.runtime.files import write_atomic
from colocam.runtime.messages import count_of

TEMPLATE = "page.html.jinja"
CORRECT = 0.5  # IoU from which a box counts as correct
TILE_NAMES = ("frame", "seed CAM", "score map")
GROUP_TITLES = {
    "best": "Best frames",
    "median": "Median frames",
    "worst": "Worst frames",
    "some": "Evenly spaced frames",
}


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        title: of the page.
        columns: evaluation summaries, see `colocam.report.tables`.
        options: the configuration, by name.
        metrics: entries of the run's log, one per epoch; may be empty.
        examples: frames by group, a key of `GROUP_TITLES`.
        overlays: (description, path relative to the page's folder) of overlay videos.
    """

    title: str
    columns: Columns
    options: Mapping[str, object]
    metrics: Sequence[LogEntry] = ()
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    overlays: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Number:
    """A headline number; `detail`, shown below it, may be empty."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class ExampleFigure:
    """An example with its caption.

    Attributes:
        pictures: (data URL, name) of frame, seed CAM and score map.
        class_name: class of the frame.
        name: of the frame.
        overlaps: best IoU of the seed CAM's box and of the prediction; None without ground truth.
        correct: whether the prediction is.
    """

    pictures: Sequence[tuple[str, str]]
    class_name: str
    name: str
    overlaps: tuple[float, float] | None
    correct: bool


@dataclass(frozen=True)
class ExampleGroup:
    """Examples under their title."""

    title: str
    figures: Sequence[ExampleFigure]


@dataclass(frozen=True)
class Page:
    """Values of `templates/page.html.jinja`.

    Attributes:
        title: of the page.
        lead: what was evaluated, in one sentence.
        method: name of the last column.
        numbers: headline numbers.
        localization: charts of CorLoc; empty if the frames have no boxes.
        examples: example frames; may be empty.
        overlays: (description, URL) of overlay videos; may be empty.
        training: charts of the training log; may be empty.
        tables: all tables of the report.
        options: (name, value) of the configuration.
        ground_truth_color: of the ground-truth boxes.
        prediction_color: of the predicted boxes.
    """

    title: str
    lead: str
    method: str
    numbers: Sequence[Number]
    localization: Sequence[Chart]
    examples: Sequence[ExampleGroup]
    overlays: Sequence[tuple[str, str]]
    training: Sequence[StageCharts]
    tables: Sequence[Cells]
    options: Sequence[tuple[str, str]]
    ground_truth_color: Color = GREEN
    prediction_color: Color = RED


def write_page(path: Path, contents: Contents) -> None:
    """Writes the page as one HTML file; the write is atomic.

    Args:
        path: of the file; missing folders are created.
        contents: what the page shows.

    Raises:
        UserError: the file cannot be written.
    """
    text = render(TEMPLATE, page=page_of(contents))
    write_atomic(path, text.encode(errors="backslashreplace"))  # file names may be invalid Unicode


def page_of(contents: Contents) -> Page:
    """The values that fill the template."""
    *_, (method, summary) = contents.columns.items()
    options = contents.options.items()
    return Page(
        title=contents.title,
        lead=_lead(method, summary),
        method=method,
        numbers=_numbers(contents.columns),
        localization=[] if summary["corloc"] is None else _localization_charts(contents.columns),
        examples=_example_groups(contents.examples),
        overlays=[(text, quote(path)) for text, path in contents.overlays],
        training=training_charts(contents.metrics),
        tables=all_cells(contents.columns),
        options=[(name, "-" if value is None else str(value)) for name, value in options],
    )


def _lead(method: str, summary: Mapping[str, Any]) -> str:
    frames, boxes = count_of(summary["frames"], "frame"), count_of(summary["boxes"], "box")
    videos = len(summary["per_video"])
    source = f", from {count_of(videos, 'video')}" if videos else ""
    return f"{method} on {frames} with {boxes}{source}."


def _numbers(columns: Columns) -> list[Number]:
    """The headline numbers of the last column, next to those of the column before it."""
    name, baseline = [*columns.items()][-2:][0]
    *_, method = columns.values()

    def number(title: str, value: float | None, other: float | None = None) -> Number:
        detail = "" if other is None else f"{name} {other:.1f}"
        return Number(title, "-" if value is None else f"{value:.1f} %", detail)

    accuracy = number("classification accuracy", method["classification_accuracy"])
    if method["corloc"] is None:
        return [accuracy]
    one_threshold = [
        one["corloc_honest"] and one["corloc_honest"]["0.5"] for one in (method, baseline)
    ]
    return [
        number("CorLoc, published", method["corloc"]["0.5"], baseline["corloc"]["0.5"]),
        number("CorLoc, one threshold", *one_threshold),
        number("CorLoc, version 2", method["corloc_v2"], baseline["corloc_v2"]),
        number("top-1 localization", method["top1_loc"], baseline["top1_loc"]),
        accuracy,
    ]


def _localization_charts(columns: Columns) -> list[Chart]:
    """CorLoc by class, over the threshold and by object size."""
    *_, (last, method) = columns.items()
    kinds = {name: "method" if name == last else "baseline" for name in columns}
    kinds |= {name: "reference" for name in columns if name == CENTRE_BOX}

    def bars(entry: str) -> list[Bars]:
        groups = list(method[entry])
        return [
            Bars(name, [summary[entry][group]["corloc"] for group in groups], kinds[name])
            for name, summary in columns.items()
        ]

    lines = [_threshold_line(name, kinds[name], summary) for name, summary in columns.items()]
    return [
        bar_chart("CorLoc by class, %", list(method["per_class"]), bars("per_class")),
        line_chart(
            "CorLoc with one threshold for all classes, %", lines, "threshold",
            x_range=(0, 1), y_range=PERCENT,
        ),
        bar_chart("Correct frames by object size, %", list(method["by_size"]), bars("by_size")),
    ]  # fmt: skip


def _threshold_line(name: str, kind: str, summary: Mapping[str, Any]) -> Line:
    curve, on_validation = summary["threshold_curve"], summary["corloc_honest"]
    points = list(zip(curve["threshold"], curve["0.5"], strict=True))
    return Line(name, points, kind, on_validation and on_validation["threshold"])


def _example_groups(groups: Mapping[str, Sequence[Example]]) -> list[ExampleGroup]:
    return [
        ExampleGroup(GROUP_TITLES[name], [_example_figure(example) for example in examples])
        for name, examples in groups.items()
        if examples
    ]


def _example_figure(example: Example) -> ExampleFigure:
    overlaps = example.overlaps()
    return ExampleFigure(
        pictures=list(zip(map(jpeg_url, example_tiles(example)), TILE_NAMES, strict=True)),
        class_name=example.label_name,
        name=example.name,
        overlaps=overlaps,
        correct=overlaps is not None and overlaps[1] >= CORRECT,
    )
