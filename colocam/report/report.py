"""What an evaluation leaves: numbers as JSON, tables, a page, a contact sheet of examples."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import TimeRemainingColumn

from colocam.cam import ActivationMap
from colocam.data.loading.loader import FrameBatch
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import threshold_or_default
from colocam.evaluation.contour_workers import useful_processes
from colocam.evaluation.evaluate import Evaluation, Outputs, evaluate
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.report.console_tables import as_table
from colocam.report.examples import by_overlap, make_examples, spread
from colocam.report.excerpts import write_overlays
from colocam.report.page import Contents, write_page
from colocam.report.pictures import Example, contact_sheet
from colocam.report.tables import (
    Columns,
    all_cells,
    as_markdown,
    corloc_cells,
    protocol_cells,
)
from colocam.runtime.console import progress_bar
from colocam.runtime.distribution import ALONE, Ranks
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_whole
from colocam.runtime.messages import report_unreadable

CORLOC_TITLE = "CorLoc, IoU 0.5, %"
ON_SHEET, A_GROUP = 24, 8  # most examples on the contact sheet, and in a group of the page


@dataclass(frozen=True)
class Report:
    """What is told of an evaluation besides its numbers, and where.

    Attributes:
        method: heads the localizer's column.
        folder: gets index.html, overlays/, evaluation.json, table.md and contact_sheet.png; None:
            nothing is written.
        title: of the page.
        options: the configuration, by name.
        metrics: lines of the run's log, an epoch each.
        smooth: X of the smoothing of score maps along each video; None: none.
    """

    method: str
    folder: Path | None = None
    title: str = "Evaluation"
    options: Mapping[str, object] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    smooth: float | None = None


def report_frames(
    model: Localizer,
    info: CheckpointInfo,
    records: Sequence[BoxedFrame],
    report: Report,
    *,
    device: torch.device,
    autocast: Callable[[], torch.autocast],
    console: Console,
    ranks: Ranks = ALONE,
    on_batch: Callable[[FrameBatch, Outputs], None] | None = None,
) -> dict[str, Any]:
    """Evaluates frames, prints the tables, and writes them with page and pictures.

    Several ranks share the evaluation, and the main one writes: a collective then. The numbers are
    written last: where evaluation.json stands, the rest does too.

    Args:
        model: on `device`.
        info: of the model's checkpoint; its thresholds give the honest CorLoc.
        records: frames to evaluate, their labels the checkpoint's classes.
        report: what else there is to tell.
        device: where to compute.
        autocast: makes the context of mixed precision.
        console: where the tables are printed.
        ranks: that share the work.
        on_batch: also called with every batch of this rank and its outputs.

    Returns:
        the summary, see `summarize`.
    """
    place = {"device": device, "autocast": autocast}
    with progress_bar(console, TimeRemainingColumn()) as progress:
        bar = progress.add_task("evaluating", total=len(records))

        def take(batch: FrameBatch, outputs: Outputs) -> None:
            progress.advance(bar, ranks.world * (len(batch.records) + len(batch.unreadable)))
            if on_batch is not None:
                on_batch(batch, outputs)

        result = evaluate(
            model, records, info.classes, side=info.size,
            cam=ActivationMap(model, info.cam, info.cam_layer), decode=info.kind == "localizer",
            on_batch=take, ranks=ranks, smooth=report.smooth, **place,
            processes=useful_processes(len(records) // ranks.world, ranks.world),
        )  # fmt: skip
    summary = summarize(result, info)
    columns = _columns(summary, info, report)
    console.print(as_table(corloc_cells(columns, CORLOC_TITLE)))
    if summary["corloc"]:
        console.print(as_table(protocol_cells(columns)))
    report_unreadable(console, result.unreadable)
    if report.folder is not None and ranks.main:
        tables = map(as_markdown, all_cells(columns, CORLOC_TITLE))
        text = "\n".join(tables).encode(errors="backslashreplace")  # names may be no text
        write_whole(report.folder / "table.md", text)
        _write_pictures(
            model, info, _readable(records, result), result, columns, report, console, **place
        )
        write_summary(report.folder / "evaluation.json", summary)
    return summary


def _columns(summary: dict[str, Any], info: CheckpointInfo, report: Report) -> Columns:
    if info.kind == "classifier":
        return {f"seed CAM ({info.cam})": summary}
    return {"seed CAM": summary["baseline"], report.method: summary}


def _readable(records: Sequence[BoxedFrame], result: Evaluation) -> list[BoxedFrame]:
    """The frames that were evaluated, in the order of their numbers."""
    unreadable = set(result.unreadable)
    return [record for record in records if record.id not in unreadable]


def _write_pictures(
    model: Localizer,
    info: CheckpointInfo,
    records: Sequence[BoxedFrame],
    result: Evaluation,
    columns: Columns,
    report: Report,
    console: Console,
    **place: Any,
) -> None:
    """The page and, of a localizer, contact sheet and overlays: their frames are run once more."""
    place["smooth"] = report.smooth
    groups: dict[str, list[Example]] = {}
    overlays: list[tuple[str, str]] = []
    if result.localizer is not None:
        threshold = threshold_or_default(info.threshold)
        sheet = spread(records, ON_SHEET)
        chosen = by_overlap(records, result.localizer.overlaps(threshold), A_GROUP)
        chosen = chosen or {"some": spread(records, 2 * A_GROUP)}
        wanted = {one.id: one for group in (sheet, *chosen.values()) for one in group}
        examples = make_examples(model, info, list(wanted.values()), **place)
        groups = {name: [examples[one.id] for one in group] for name, group in chosen.items()}
        if sheet:
            contact_sheet(
                [examples[one.id] for one in sheet],
                report.folder / "contact_sheet.png",
                method=report.method,
            )
        firsts = {name: group[0] for name, group in chosen.items() if group}
        try:
            overlays = write_overlays(report.folder, model, info, firsts, records, **place)
        except UserError as error:  # all else stands without them
            console.print(f"warning: {error}; no overlays", style="yellow", markup=False)
    contents = Contents(report.title, columns, report.options, report.metrics, groups, overlays)
    write_page(report.folder / "index.html", contents)


def summarize(result: Evaluation, info: CheckpointInfo) -> dict[str, Any]:
    """The keys that evaluate.py promises; the seed CAM's own under "baseline".

    Of a classifier alone: the seed CAM's keys.
    """
    baseline = result.seed_cam.summary(info.cam_threshold)
    if result.localizer is None:
        return baseline
    return {**result.localizer.summary(info.threshold), "baseline": baseline}


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Writes a summary as JSON, every list of numbers on one line."""
    text = json.dumps(summary, indent=1)
    # Only between values does JSON hold a line's end as it is: no name can be meant.
    text = re.sub(r"\[\n[-+.,\s\de]*\]", _on_one_line, text)
    write_whole(path, (text + "\n").encode())


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[0][1:-1].split())}]"
