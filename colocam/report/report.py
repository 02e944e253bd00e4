"""Report of an evaluation: numbers as JSON, tables, a page, a contact sheet and overlay videos."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import TimeRemainingColumn

from colocam.data.loading.frame_batches import FrameBatch
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import CENTRE_BOX, threshold_or_default
from colocam.evaluation.contour_workers import useful_processes
from colocam.evaluation.evaluate import Evaluation, Outputs, evaluate, seed_cam_of
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.postprocessing import NO_POSTPROCESSING, Postprocessing
from colocam.report.console_tables import as_table
from colocam.report.contact_sheet import contact_sheet
from colocam.report.examples import ExampleMaker, by_overlap, make_examples, spread
from colocam.report.overlay_videos import write_overlays
from colocam.report.page import Contents, write_page
from colocam.report.pictures import Example
from colocam.report.tables import (
    SEED_CAM,
    Columns,
    all_cells,
    as_markdown,
    corloc_cells,
    protocol_cells,
)
from colocam.runtime.console import progress_bar
from colocam.runtime.distribution import ALONE, Ranks
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_atomic
from colocam.runtime.messages import print_unreadable

CORLOC_TITLE = "CorLoc, IoU 0.5, %"
SHEET_SIZE, GROUP_SIZE = 24, 8  # most examples of the contact sheet, and of a group of the page
REPORT_FILES = (
    *("index.html", "evaluation.json", "table.md", "contact_sheet.png"),
    *(f"overlays/{group}.mp4" for group in ("best", "median", "worst", "some")),
)
"""Files that a report may consist of."""


@dataclass(frozen=True)
class Report:
    """Settings of a report.

    Attributes:
        method: name of the localizer's column.
        folder: output folder of index.html, overlays/, evaluation.json, table.md and
            contact_sheet.png; None: nothing is written.
        title: of the page.
        options: the configuration, by name.
        metrics: entries of the run's log, one per epoch.
        postprocessing: of the score maps, along each video.
    """

    method: str
    folder: Path | None = None
    title: str = "Evaluation"
    options: Mapping[str, object] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    postprocessing: Postprocessing = NO_POSTPROCESSING


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
    """Evaluates frames, prints the tables, and writes the files of the report.

    With several ranks this is a collective: all ranks evaluate, the main rank writes.
    evaluation.json is written last: if it exists, all other files do.

    Args:
        model: on `device`.
        info: of the model's checkpoint; its thresholds are those of `corloc_honest`.
        records: frames to evaluate; their labels are classes of the checkpoint.
        report: settings of the report.
        device: of the computation.
        autocast: creates the context of mixed precision.
        console: prints the tables.
        ranks: that share the evaluation.
        on_batch: also called with every batch of this rank and its outputs.

    Returns:
        The summary, see `summarize`.
    """
    with progress_bar(console, TimeRemainingColumn()) as progress:
        bar = progress.add_task("evaluating", total=len(records))

        def advance(batch: FrameBatch, outputs: Outputs) -> None:
            progress.advance(bar, ranks.world * (len(batch.records) + len(batch.unreadable)))
            if on_batch is not None:
                on_batch(batch, outputs)

        result = evaluate(
            model, records, info.classes, side=info.size,
            cam=seed_cam_of(model, info), decode=info.kind == "localizer",
            on_batch=advance, ranks=ranks, postprocessing=report.postprocessing, device=device,
            autocast=autocast,
            processes=useful_processes(len(records) // ranks.world, ranks.world),
        )  # fmt: skip
    summary = summarize(result, info)
    columns = _columns(summary, info, report)
    console.print(as_table(corloc_cells(columns, CORLOC_TITLE)))
    if summary["corloc"]:
        console.print(as_table(protocol_cells(columns)))
    print_unreadable(console, result.unreadable)
    if report.folder is not None and ranks.main:
        _write_tables(report.folder / "table.md", columns)
        examples_of = partial(
            make_examples,
            model,
            info,
            device=device,
            autocast=autocast,
            postprocessing=report.postprocessing,
        )
        chosen = _Chosen.of(_readable(records, result), result, info)
        with console.status("writing the page and the overlays"):
            _write_pictures(report.folder, chosen, examples_of, columns, report, console)
        write_summary(report.folder / "evaluation.json", summary)
    return summary


def _columns(summary: dict[str, Any], info: CheckpointInfo, report: Report) -> Columns:
    centre = {CENTRE_BOX: summary["centre_box"]} if summary["corloc"] else {}
    if info.kind == "classifier":
        return {**centre, f"seed CAM ({info.cam})": summary}
    return {**centre, SEED_CAM: summary["baseline"], report.method: summary}


def _readable(records: Sequence[BoxedFrame], result: Evaluation) -> list[BoxedFrame]:
    """The frames that were evaluated, in the order of their numbers."""
    unreadable = set(result.unreadable)
    return [record for record in records if record.id not in unreadable]


def _write_tables(path: Path, columns: Columns) -> None:
    text = "\n".join(map(as_markdown, all_cells(columns, CORLOC_TITLE)))
    write_atomic(path, text.encode(errors="backslashreplace"))  # file names may be invalid Unicode


@dataclass(frozen=True)
class _Chosen:
    """The evaluated frames, and those that are shown: none for a classifier.

    Attributes:
        records: evaluated frames.
        sheet: frames of the contact sheet.
        groups: frames of the page by group.
    """

    records: Sequence[BoxedFrame]
    sheet: Sequence[BoxedFrame]
    groups: Mapping[str, Sequence[BoxedFrame]]

    @classmethod
    def of(
        cls, records: Sequence[BoxedFrame], result: Evaluation, info: CheckpointInfo
    ) -> "_Chosen":
        if result.localizer is None:
            return cls(records, (), {})
        overlaps = result.localizer.overlaps(threshold_or_default(info.threshold))
        groups = by_overlap(records, overlaps, GROUP_SIZE)
        groups = groups or {"some": spread(records, 2 * GROUP_SIZE)}
        return cls(records, spread(records, SHEET_SIZE), groups)

    def all(self) -> list[BoxedFrame]:
        """Every frame that is shown, once."""
        shown = [self.sheet, *self.groups.values()]
        return list({one.id: one for group in shown for one in group}.values())


def _write_pictures(
    folder: Path,
    chosen: _Chosen,
    examples_of: ExampleMaker,
    columns: Columns,
    report: Report,
    console: Console,
) -> None:
    """Writes the page, the contact sheet and the overlay videos."""
    groups: dict[str, list[Example]] = {}
    overlays: list[tuple[str, str]] = []
    if chosen.groups:
        examples = examples_of(chosen.all())
        groups = {name: [examples[r.id] for r in group] for name, group in chosen.groups.items()}
        if chosen.sheet:
            sheet = [examples[record.id] for record in chosen.sheet]
            contact_sheet(sheet, folder / "contact_sheet.png", method=report.method)
        firsts = {name: group[0] for name, group in chosen.groups.items() if group}
        try:
            overlays = write_overlays(folder, examples_of, firsts, chosen.records)
        except UserError as error:  # the rest of the report does not depend on them
            console.print(f"warning: {error}; no overlays", style="yellow")
    contents = Contents(report.title, columns, report.options, report.metrics, groups, overlays)
    write_page(folder / "index.html", contents)


def summarize(result: Evaluation, info: CheckpointInfo) -> dict[str, Any]:
    """Summary of an evaluation, see `CorLoc.summary`, with those of the baselines.

    "baseline" is the summary of the seed CAM, "centre_box" that of the box around the centre.

    Args:
        result: of the evaluation.
        info: of the model's checkpoint; its thresholds are those of `corloc_honest`.

    Returns:
        JSON-serializable numbers; for a classifier, those of the seed CAM itself.
    """
    baseline = result.seed_cam.summary(info.cam_threshold)
    centre = {"centre_box": result.centre.summary(info.centre_threshold)}
    if result.localizer is None:
        return baseline | centre
    return result.localizer.summary(info.threshold) | {"baseline": baseline} | centre


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Writes a summary as JSON, each list of numbers on one line; the write is atomic.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(summary, indent=1)
    # JSON escapes line ends in strings: the pattern matches between values only.
    text = re.sub(r"\[\n[-+.,\s\de]*\]", _on_one_line, text)
    write_atomic(path, (text + "\n").encode())


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[0][1:-1].split())}]"
