"""What an evaluation leaves: numbers as JSON, a table, a contact sheet of examples."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from colocam.cam import ActivationMap
from colocam.distribution import ALONE, Ranks
from colocam.evaluation.boxes import box_at, scale_box
from colocam.evaluation.contour_workers import useful_processes
from colocam.evaluation.evaluate import Evaluation, Outputs, evaluate
from colocam.evaluation.pictures import Example, contact_sheet
from colocam.evaluation.tables import (
    breakdown_markdown,
    corloc_markdown,
    corloc_table,
    protocol_markdown,
    protocol_table,
)
from colocam.files import write_whole
from colocam.model import Localizer
from colocam.model.checkpoint import CheckpointInfo
from colocam.video.batches import FrameBatch
from colocam.video.notes import count_of
from colocam.video.records import BoxedFrame

CORLOC_TITLE = "CorLoc, IoU 0.5, %"
DEFAULT_THRESHOLD = 0.5  # for boxes where validation had none to choose a threshold by


def report_frames(
    model: Localizer,
    info: CheckpointInfo,
    records: Sequence[BoxedFrame],
    classes: Sequence[str],
    *,
    device: torch.device,
    autocast: Callable[[], torch.autocast],
    console: Console,
    method: str,
    folder: Path | None = None,
    ranks: Ranks = ALONE,
    on_batch: Callable[[FrameBatch, Outputs], None] | None = None,
) -> dict[str, Any]:
    """Evaluates frames, prints the tables, and writes them with pictures below `folder`.

    Several ranks share the evaluation, and the main one writes: a collective then. The numbers are
    written last: where evaluation.json stands, the rest does too.

    Args:
        model: on `device`.
        info: of the model's checkpoint; its thresholds give the honest CorLoc.
        records: frames to evaluate.
        classes: class names, in the order of the labels.
        device: where to compute.
        autocast: makes the context of mixed precision.
        console: where the tables are printed.
        method: heads the localizer's column.
        folder: gets evaluation.json, table.md and contact_sheet.png; None: nothing is written.
        ranks: that share the work.
        on_batch: also called with every batch of this rank and its outputs.

    Returns:
        the summary, see `summarize`.
    """
    gallery = Gallery(records)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("evaluating", total=len(records))

        def take(batch: FrameBatch, outputs: Outputs) -> None:
            progress.advance(bar, ranks.world * (len(batch.records) + len(batch.unreadable)))
            gallery.collect(batch, outputs)
            if on_batch is not None:
                on_batch(batch, outputs)

        result = evaluate(
            model, records, classes, side=info.size,
            cam=ActivationMap(model, info.cam, info.cam_layer), device=device,
            decode=info.kind == "localizer", autocast=autocast, on_batch=take,
            ranks=ranks, processes=useful_processes(len(records) // ranks.world, ranks.world),
        )  # fmt: skip
    summary = summarize(result, info)
    baseline = summary.get("baseline", summary)
    shown = method if info.kind == "localizer" else f"seed CAM ({info.cam})"
    console.print(corloc_table(summary, baseline, title=CORLOC_TITLE, method=shown))
    if summary["corloc"]:
        console.print(protocol_table(summary, baseline, method=shown))
    report_unreadable(console, result.unreadable)
    gallery.share(ranks)
    if folder is not None and ranks.main:
        write_whole(folder / "table.md", _tables(summary, baseline, shown).encode())
        gallery.write(folder / "contact_sheet.png", info, classes, method)
        write_summary(folder / "evaluation.json", summary)
    return summary


def _tables(summary: dict[str, Any], baseline: dict[str, Any], method: str) -> str:
    """All tables as Markdown; without boxes the classification accuracy alone."""
    tables = [corloc_markdown(summary, baseline, title=CORLOC_TITLE, method=method)]
    if summary["corloc"]:
        tables.append(protocol_markdown(summary, baseline, method))
        tables.append(breakdown_markdown(summary, baseline, method))
    return "\n".join(tables)


def report_unreadable(console: Console, names: Sequence[str], shown: int = 5) -> None:
    """Warns of frames that were left out because they cannot be decoded, and counts them."""
    for name in names[:shown]:
        console.print(f"warning: {name}: cannot be decoded, left out", style="yellow", markup=False)
    if names:
        console.print(f"{count_of(len(names), 'frame')} could not be decoded and were left out")


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


class Gallery:
    """Collects examples while an evaluation runs, evenly spread over the records.

    Args:
        records: the frames that will be evaluated.
        count: most examples to keep.
    """

    def __init__(self, records: Sequence[BoxedFrame], count: int = 24) -> None:
        chosen = np.linspace(0, max(0, len(records) - 1), min(count, len(records)))
        self.wanted = [records[i].id for i in chosen.round().astype(int)]
        self.kept: list[tuple[BoxedFrame, tuple[int, int], np.ndarray, np.ndarray, np.ndarray]] = []

    def collect(self, batch: FrameBatch, outputs: Outputs) -> None:
        """For `evaluate(on_batch=…)`; a classifier alone has no score maps to show."""
        if outputs.scores is None:
            return
        for i, record in enumerate(batch.records):
            if record.id in self.wanted:
                frame = np.ascontiguousarray(batch.images[i].permute(1, 2, 0).numpy())
                self.kept.append(
                    (record, batch.sizes[i], frame, outputs.cams[i], outputs.scores[i])
                )

    def share(self, ranks: Ranks) -> None:
        """Brings the examples of all ranks together, in the order of the records; a collective."""
        kept = {one[0].id: one for of_rank in ranks.gather(self.kept) for one in of_rank}
        self.kept = [kept[name] for name in self.wanted if name in kept]

    def write(self, path: Path, info: CheckpointInfo, classes: Sequence[str], method: str) -> None:
        """Draws the contact sheet, boxes at the thresholds that were best on validation."""
        threshold = DEFAULT_THRESHOLD if info.threshold is None else info.threshold
        cam_threshold = DEFAULT_THRESHOLD if info.cam_threshold is None else info.cam_threshold
        examples = [
            Example(
                frame,
                [scale_box(box, size, (info.size, info.size)) for box in record.boxes],
                classes[record.label],
                cam,
                box_at(cam, cam_threshold),
                score,
                box_at(score, threshold),
            )
            for record, size, frame, cam, score in self.kept
        ]
        if examples:
            contact_sheet(examples, path, method=method)
