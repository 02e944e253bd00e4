"""The page of a run: one HTML file that opens from disk, with everything in it but the videos."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from colocam.localization.drawing import GREEN, RED
from colocam.report.charts import Line, bar_chart, line_chart, ticks
from colocam.report.markup import document, element
from colocam.report.page_style import STYLE
from colocam.report.pictures import Example, example_tiles
from colocam.report.tables import Cells, Columns, all_cells
from colocam.runtime.files import write_atomic
from colocam.runtime.messages import count_of

FOREGROUND_SHARE, ONE_SIDED = "foreground", "one_sided"
"""Names in a run's log: mean of S¹, and share of the frames in videos gone to one side."""

QUALITY = 90  # of the JPEG pictures
PERCENT = (0.0, 100.0)
STAGES = {
    "classifier": "Stage 1: the classifier, from tags",
    "localizer": "Stage 2: the decoder, over the frozen classifier",
}
METRICS = {
    "localization": "CorLoc on validation, %",
    "classification": "classification accuracy on validation, %",
    "total": "total loss",
    "cross-entropy": "cross-entropy",
    "pl": "partial cross-entropy",
    "crf": "spatial CRF",
    "asc": "size barrier",
    "coloc": "joint colour CRF (under the adaptive weight: −λ)",
    FOREGROUND_SHARE: "share of the frames that is foreground (mean of S¹)",
    ONE_SIDED: "share of the frames in videos gone to one side",
    "skipped_steps": "steps left out",
    "frames_per_second": "frames a second",
}
ABOUT_EXAMPLES = {
    "best": "Best frames",
    "median": "Frames in the middle",
    "worst": "Worst frames",
    "some": "Some frames",
}


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        title: of the page.
        columns: the numbers, see `colocam.report.tables`.
        options: the configuration, by name.
        metrics: lines of the run's log, an epoch each; may be empty.
        examples: frames by group, "best", "median", "worst", or "some" where nothing says which
            are good.
        overlays: (what it shows, path below the page's folder) of overlay videos.
    """

    title: str
    columns: Columns
    options: Mapping[str, object]
    metrics: Sequence[Mapping[str, Any]] = ()
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    overlays: Sequence[tuple[str, str]] = ()


def write_page(path: Path, contents: Contents) -> None:
    """Writes the page, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    body = element(
        "body",
        _head(contents),
        _results(contents.columns),
        _examples(contents),
        _overlays(contents.overlays),
        _training(contents.metrics),
        _tables(contents.columns),
        _configuration(contents.options),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", contents.title),
        element("style", STYLE),
    )
    text = document(element("html", head, body, lang="en"))
    write_atomic(path, text.encode(errors="backslashreplace"))  # a file's name may be no text


def _head(contents: Contents) -> list[Element]:
    """Title, and the numbers that are looked at first."""
    *_, (name, method) = contents.columns.items()
    baseline = next(iter(contents.columns.values()))
    videos = len(method["per_video"])
    lead = (
        f"{name} on {count_of(method['frames'], 'frame')} with {count_of(method['boxes'], 'box')}"
    )
    lead += f", from {count_of(videos, 'video')}." if videos else "."
    honest = [one["corloc_honest"] and one["corloc_honest"]["0.5"] for one in (baseline, method)]
    cards = []
    if method["corloc"] is not None:
        cards = [
            _number("CorLoc, published", method["corloc"]["0.5"], baseline["corloc"]["0.5"]),
            _number("CorLoc, one threshold", honest[1], honest[0]),
            _number("CorLoc, version 2", method["corloc_v2"], baseline["corloc_v2"]),
            _number("top-1 localization", method["top1_loc"], baseline["top1_loc"]),
        ]
    cards.append(_number("classification accuracy", method["classification_accuracy"], None))
    return [
        element("h1", contents.title),
        element("p", lead, class_="lead"),
        element("dl", cards, class_="numbers"),
    ]


def _number(name: str, value: float | None, baseline: float | None) -> Element:
    small = None if baseline is None else element("small", f"seed CAM {baseline:.1f}")
    shown = "-" if value is None else f"{value:.1f} %"
    return element("div", element("dt", name), element("dd", shown, small))


def _results(columns: Columns) -> list[Element]:
    """CorLoc by class, by size and along the threshold."""
    *_, method = columns.values()
    if method["corloc"] is None:
        note = "The frames have no boxes, so there is no CorLoc."
        return [element("p", note, class_="note")]
    kinds = _kinds(columns)
    classes, sizes = list(method["per_class"]), list(method["by_size"])
    by_class = [
        (name, kinds[name], [one["per_class"][label]["corloc"] for label in classes])
        for name, one in columns.items()
    ]
    by_size = [
        (name, kinds[name], [one["by_size"][size]["corloc"] for size in sizes])
        for name, one in columns.items()
    ]
    curves = [_threshold_line(name, kinds[name], one) for name, one in columns.items()]
    charts = [
        bar_chart("CorLoc by class, %", classes, by_class),
        line_chart("CorLoc with one threshold for all classes, %", curves, "threshold",
                   x_range=(0, 1), y_range=PERCENT),
        bar_chart("Frames right by size of the object, %", sizes, by_size),
    ]  # fmt: skip
    note = (
        "IoU 0.5. By class and size, the threshold is chosen for each class on these very frames, "
        "as published. Dots on the curve: the threshold chosen on validation."
    )
    return [
        element("h2", "Localization"),
        element("p", note, class_="note"),
        element("div", charts, class_="charts"),
    ]


def _kinds(columns: Columns) -> dict[str, str]:
    """The last column is what the page is about."""
    *_, last = columns
    return {name: "method" if name == last else "baseline" for name in columns}


def _threshold_line(name: str, kind: str, summary: Mapping[str, Any]) -> Line:
    curve, honest = summary["threshold_curve"], summary["corloc_honest"]
    points = list(zip(curve["threshold"], curve["0.5"], strict=True))
    return Line(name, points, kind, honest and honest["threshold"])


def _training(metrics: Sequence[Mapping[str, Any]]) -> Iterator[Element]:
    """A small chart for every number of the log, by stage."""
    if metrics:
        yield element("h2", "Training")
    for stage, title in STAGES.items():
        lines = [line for line in metrics if line["stage"] == stage]
        told = {name for line in lines for name in line if _is_told(name, lines)}
        ordered = [name for name in METRICS if name in told]
        charts = [_metric_chart(name, lines) for name in [*ordered, *sorted(told - {*METRICS})]]
        if charts:
            yield element("h3", title)
            yield element("div", charts, class_="charts")


def _is_told(name: str, lines: Sequence[Mapping[str, Any]]) -> bool:
    """What should not happen is worth a chart only where it did."""
    if name in ("stage", "epoch", "seed_cam"):
        return False
    return name not in ("skipped_steps", ONE_SIDED) or any(line.get(name) for line in lines)


def _metric_chart(name: str, lines: Sequence[Mapping[str, Any]]) -> Element:
    def line_of(name: str, shown: str, kind: str) -> Line:
        points = [(line["epoch"] + 1, line[name]) for line in lines if name in line]
        return Line(shown, points, kind)

    drawn = [line_of(name, METRICS.get(name, name), "method")]
    if name == "localization":
        maps = "seed CAM" if lines[0]["stage"] == "classifier" else "S1"
        drawn = [line_of("seed_cam", "seed CAM", "baseline"), line_of(name, maps, "method")]
    y_range = PERCENT if name in ("classification", "localization") else None
    if name == "frames_per_second":
        y_range = (0.0, ticks(0, max(y for _, y in drawn[0].points))[-1])
    return line_chart(
        METRICS.get(name, name), drawn, "epoch", x_range=(1, lines[-1]["epoch"] + 1),
        y_range=y_range, whole_x=True,
    )  # fmt: skip


def _examples(contents: Contents) -> Iterator[Element]:
    """Frames, seed CAM and result side by side."""
    if not contents.examples:
        return
    *_, method = contents.columns
    yield element("h2", "Frames")
    yield element(
        "p", "Each frame with ground truth (", _swatch(GREEN), "green) and prediction (",
        _swatch(RED), f"red); its seed CAM; the score map of {method}. The maps' boxes are taken "
        "at the thresholds chosen on validation. One frame a video where there are enough.",
        class_="note",
    )  # fmt: skip
    for group, examples in contents.examples.items():
        if examples:
            yield element("h3", ABOUT_EXAMPLES[group])
            yield element("div", map(_example, examples), class_="examples")


def _swatch(color: tuple[int, int, int]) -> Element:
    return element("span", class_="swatch", style=f"border-color: rgb{color}")


def _example(example: Example) -> Element:
    names = ("frame", "seed CAM", "score map")
    images = [
        element("img", src=_jpeg(tile), alt=f"{name} of {example.name}", loading="lazy")
        for name, tile in zip(names, example_tiles(example), strict=True)
    ]
    caption: list[Element | str] = [f"{example.label_name} "]
    overlaps = example.overlaps()
    if overlaps is not None:
        before, after = overlaps
        right = "good" if after >= 0.5 else "bad"
        caption += [f"· IoU {before:.2f} → ", element("span", f"{after:.2f}", class_=right), " "]
    caption.append(element("small", example.name))
    return element(
        "figure", element("div", images), element("figcaption", caption), class_="example"
    )


def _jpeg(image: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 RGB as an address that holds it."""
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _overlays(overlays: Sequence[tuple[str, str]]) -> list[Element]:
    if not overlays:
        return []
    links = [element("li", element("a", text, href=quote(path))) for text, path in overlays]
    note = "Frame with boxes, seed CAM, score map, as above; around the first frame of each group."
    return [
        element("h2", "Overlay videos"),
        element("p", note, class_="note"),
        element("ul", links),
    ]


def _tables(columns: Columns) -> list[Element]:
    tables = [element("section", _table(cells)) for cells in all_cells(columns)]
    return [element("h2", "Tables"), element("div", tables, class_="tables")]


def _table(cells: Cells) -> list[Element | None]:
    header, *rows = cells.rows
    lines = [element("tr", [element("th", name) for name in header])]
    for place, row in enumerate(rows, 1):
        kind = {"class_": "sum"} if cells.sums_up and place == len(rows) else {}
        lines.append(element("tr", [element("td", cell) for cell in row], **kind))
    title = element("h3", cells.title) if cells.title else None
    note = element("p", cells.note, class_="note") if cells.note else None
    table = element("div", element("table", lines), class_="table")
    return [title, table, note]


def _configuration(options: Mapping[str, object]) -> list[Element]:
    entries = [
        element("div", element("dt", name), element("dd", "-" if value is None else str(value)))
        for name, value in options.items()
    ]
    return [element("h2", "Configuration"), element("dl", entries, class_="options")]
