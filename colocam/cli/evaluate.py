"""Command evaluate.py: CorLoc of a checkpoint on the frames of a split."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from colocam.cli.box_options import add_boxes, check_boxes, min_area
from colocam.cli.evaluate_maps import evaluate_maps
from colocam.data.layouts.builtin import SIZES, builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.layouts.stored_split import StoredSplit
from colocam.data.records import BoxedFrame, VideoData
from colocam.evaluation.coco import (
    detection_metrics,
    ground_truth_path,
    require_pycocotools,
    write_coco,
)
from colocam.evaluation.predictions import Predictions, write_predictions
from colocam.localization.stored_maps import frames_of, store_maps
from colocam.models.checkpoint import CheckpointInfo, load_checkpoint
from colocam.postprocessing.settings import add_options, read_options
from colocam.report.console_tables import as_table
from colocam.report.report import Report, report_frames, write_summary
from colocam.report.tables import detection_cells
from colocam.runtime.console import make_console
from colocam.runtime.device import check_seed, make_autocast, pick_device
from colocam.runtime.distribution import Ranks, join_ranks
from colocam.runtime.entry import CommandParser, exit_status, program_name
from colocam.runtime.errors import UserError
from colocam.runtime.files import check_file, check_folder
from colocam.runtime.messages import count_of, print_note


def main(argv: Sequence[str] | None = None) -> int:
    """Runs evaluate.py and returns its exit status.

    Args:
        argv: arguments without the program name; None: those of the process.
    """
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _run(options: argparse.Namespace) -> None:
    with join_ranks(options.device) as ranks:
        if options.maps is not None:
            evaluate_maps(options, ranks.world)
        else:
            _evaluate(options, ranks)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("evaluate.py"),
        usage="%(prog)s (--ckpt FILE | --maps DIR) [--data DIR] [--split NAME] [options]",
        description="Evaluates a checkpoint: CorLoc of its localizer and of its seed CAM; or "
        "stored maps.",
    )
    either = parser.add_mutually_exclusive_group(required=True).add_argument
    either("--ckpt", type=Path, metavar="FILE", help="checkpoint of train.py")
    either(
        "--maps",
        type=Path,
        metavar="DIR",
        help="stored maps of colocam.seed_maps or --save-maps, evaluated as they are",
    )
    add = parser.add_argument
    add(
        "--split",
        choices=("test", "val", "new", "train"),
        default="test",
        help="frames to evaluate; new: of videos added to the data folder since training; train: "
        "all frames of the training shots, only with --save-maps",
    )
    add_options(add, "score maps")
    add_boxes(parser, "also evaluated by COCO's AP50 (extra coco)")
    _add_data(parser.add_argument_group("data"))
    _add_output(parser.add_argument_group("output"))
    runtime = parser.add_argument_group("runtime").add_argument
    runtime("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device")
    runtime(
        "--amp",
        choices=("auto", "off", "bf16", "fp16"),
        default="auto",
        help="mixed precision; auto: bf16 if it is fast here, otherwise fp16 on a GPU",
    )
    return parser


def _add_data(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--data", type=Path, metavar="DIR", help="data folder (default: the built-in clip set)")
    add(
        "--splits",
        type=Path,
        metavar="DIR",
        help="folder of split files (default: DATA/splits, if it exists)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="--seed of the training run, for checkpoints of earlier versions that do not hold its "
        "split (default: 0)",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="--cache of train.py, which stores the frame counts of videos (default: no cache)",
    )
    add(
        "--file-order",
        choices=("natural", "name"),
        default="natural",
        help="--file-order of the training run, which decides what the frame numbers of boxes.csv "
        "mean in a folder of frames; natural: 2 before 10",
    )
    add("--clip-set", choices=tuple(SIZES), default="default", help="size of the built-in clip set")
    add("--clip-seed", type=int, default=0, metavar="N", help="seed of the built-in clip set")


def _add_output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--json", type=Path, metavar="FILE", help="write the metrics as JSON")
    add("--report", type=Path, metavar="DIR", help="write metrics, tables and pictures as a page")
    add(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="write class and box of each frame as JSON",
    )
    add(
        "--coco",
        type=Path,
        metavar="FILE",
        help="write predictions in the COCO results format, and the ground truth to a file of the "
        "same name with the suffix .gt.json",
    )
    add(
        "--save-maps",
        type=Path,
        metavar="DIR",
        help="write the score map of each frame (of a classifier: the CAM) for --seed-maps of "
        "train.py",
    )


def _check(options: argparse.Namespace, ranks: Ranks) -> None:
    for option, seed in (("--seed", options.seed), ("--clip-seed", options.clip_seed)):
        check_seed(option, seed or 0)
    postprocessing = read_options(options)
    check_boxes(options)
    if options.boxes == "all":
        require_pycocotools()
    files = _files(options)
    written: set[Path] = set()
    for flag, path in files.items():
        if path.resolve() in written:
            raise UserError(f"{flag}: {path} is written by another option; use another file")
        written.add(path.resolve())
        check_file(path)
    for folder in (options.report, options.save_maps):
        if folder is not None:
            check_folder(folder)
    if postprocessing and options.save_maps is not None:
        raise UserError("--save-maps: writes the maps as they are; omit --smooth and --refine")
    if options.split == "train" and options.save_maps is None:
        raise UserError("--split train: has no boxes to evaluate; use it with --save-maps DIR")
    if options.split == "train" and (files or options.report):
        flag = next(iter(files), "--report")
        raise UserError(f"--split train: has no boxes, so there is nothing for {flag}")
    if options.save_maps is not None and ranks.world > 1:
        raise UserError("--save-maps: runs in one process; start it without torchrun")


def _files(options: argparse.Namespace) -> dict[str, Path]:
    """Output files by option."""
    requested = {
        "--coco": options.coco,
        "--json": options.json,
        "--predictions": options.predictions,
    }
    if options.coco is not None:
        requested["--coco (ground truth)"] = ground_truth_path(options.coco)
    return {flag: path for flag, path in requested.items() if path is not None}


def _evaluate(options: argparse.Namespace, ranks: Ranks) -> None:
    _check(options, ranks)
    console = make_console(quiet=not ranks.main)
    device = pick_device(options.device, ranks.local)
    every_box = options.boxes == "all"
    predicting = every_box or options.predictions is not None or options.coco is not None
    decoding = predicting or bool(read_options(options))
    model, info = load_checkpoint(options.ckpt, "localizer" if decoding else None)
    records = _records(options, info, ranks, console)
    autocast = make_autocast(options.amp, device)
    model = model.to(device).to(memory_format=torch.channels_last)
    if options.save_maps is not None:
        store_maps(
            model, info, records, options.save_maps,
            device=device, autocast=autocast, console=console,
        )  # fmt: skip
    if options.split == "train":
        return
    predictions = Predictions(records, info, min_area(options)) if predicting else None
    summary = report_frames(
        model, info, records, _report(options, info),
        device=device, autocast=autocast, console=console, ranks=ranks,
        on_batch=predictions.collect if predictions else None,
    )  # fmt: skip
    if predictions is not None:
        predictions.share(ranks)
    if not ranks.main:
        return
    if predictions is not None and every_box:
        choices = {
            "largest": detection_metrics(predictions, 1),
            "all": detection_metrics(predictions),
        }
        console.print(as_table(detection_cells(choices)))
        summary["detection"] = choices
    _write(options, summary, predictions)


def _report(options: argparse.Namespace, info: CheckpointInfo) -> Report:
    used = {name: value for name, value in vars(options).items() if value is not None}
    title = f"{options.ckpt.name} on {options.data or 'the built-in clip set'}, {options.split}"
    postprocessing = read_options(options)
    method = ", ".join(filter(None, ("localizer", postprocessing.describe())))
    of_checkpoint = asdict(info)
    del of_checkpoint["split"]  # names of all videos
    return Report(
        method, options.report, title, used | of_checkpoint, postprocessing=postprocessing
    )


def _split_of(info: CheckpointInfo, ckpt: Path) -> StoredSplit | None:
    """Split that the checkpoint was trained by; None in files of earlier versions."""
    try:
        return None if info.split is None else StoredSplit.from_json(info.split)
    except ValueError as error:
        raise UserError(f"{ckpt}: its split is damaged ({error})") from error


def _records(
    options: argparse.Namespace, info: CheckpointInfo, ranks: Ranks, console: Console
) -> list[BoxedFrame]:
    """Frames of the split, with the class indices of the checkpoint; a collective."""
    with ranks.main_first(), console.status("opening the data"):
        folder = options.data or builtin_folder(options.clip_set, options.clip_seed)
        data = open_data(
            folder, options.splits, seed=options.seed or 0, cache=options.cache,
            split=_split_of(info, options.ckpt), evaluating=True, order=options.file_order,
        )  # fmt: skip
    notes = [*data.notes]
    if options.seed is not None and info.split is not None:
        notes.append(f"--seed {options.seed}: not used, since {options.ckpt} holds its split")
    for note in notes:
        print_note(console, note)
    training = options.split == "train"
    frames = list(frames_of(data.train)) if training else getattr(data, options.split)
    records = _relabelled(data, frames, info.classes, options.ckpt)
    if not records:
        raise UserError(f"{folder}: no frame to evaluate in split {options.split!r}")
    if all(record.frames.read([record.index])[0] is None for record in records):
        what = count_of(len(records), "frame")
        raise UserError(f"{folder}: not one of {what} in split {options.split!r} can be decoded")
    return records


def _write(
    options: argparse.Namespace, summary: dict[str, Any], predictions: Predictions | None
) -> None:
    if options.json is not None:
        write_summary(options.json, summary)
    if predictions is not None and options.predictions is not None:
        write_predictions(options.predictions, predictions)
    if predictions is not None and options.coco is not None:
        write_coco(options.coco, predictions)


def _relabelled(
    data: VideoData, records: Sequence[BoxedFrame], classes: Sequence[str], ckpt: Path
) -> list[BoxedFrame]:
    """Records with the class indices of the checkpoint."""
    unknown = [name for name in data.classes if name not in classes]
    if unknown:
        raise UserError(
            f"{ckpt}: has the classes {', '.join(classes)}, not {', '.join(unknown)} of the data"
        )
    index = [classes.index(name) for name in data.classes]
    return [replace(record, label=index[record.label]) for record in records]
