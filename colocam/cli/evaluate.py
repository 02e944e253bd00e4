"""The command evaluate.py: CorLoc of a checkpoint on the frames of a split."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from colocam.data.layouts.builtin import SIZES, builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.records import BoxedFrame, VideoData
from colocam.evaluation.coco import ground_truth_path, write_coco
from colocam.evaluation.predictions import Predictions, write_predictions
from colocam.localization.stored_maps import frames_of, store_maps
from colocam.models.checkpoint import CheckpointInfo, load_checkpoint
from colocam.report.report import Report, report_frames, write_summary
from colocam.runtime.device import make_autocast, pick_device
from colocam.runtime.distribution import Ranks, join_ranks
from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from colocam.runtime.files import check_file, check_folder
from colocam.runtime.messages import count_of


def main(argv: Sequence[str] | None = None) -> int:
    """Runs evaluate.py with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _run(options: argparse.Namespace) -> None:
    with join_ranks(options.device) as ranks:
        _evaluate(options, ranks)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="evaluate.py",
        description="Evaluates a checkpoint: CorLoc of its localizer and of its seed CAM.",
    )
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, metavar="FILE", help="a checkpoint of train.py")
    add("--data", type=Path, metavar="DIR", help="data folder (default: built-in clip set)")
    add("--splits", type=Path, metavar="DIR", help="split files (default: DATA/splits if there)")
    add("--cache", type=Path, metavar="DIR", help="train.py's: it remembers how long videos are")
    add(
        "--split",
        choices=("test", "val", "train"),
        default="test",
        help="frames to evaluate; train: all frames of the training shots, for --save-maps alone",
    )
    add(
        "--save-maps",
        type=Path,
        metavar="DIR",
        help="store each score map (of a classifier: the CAM) for train.py --seed-maps DIR",
    )
    add("--json", type=Path, metavar="FILE", help="write the numbers here")
    add("--predictions", type=Path, metavar="FILE", help="write each frame's class and box as JSON")
    add(
        "--coco",
        type=Path,
        metavar="FILE",
        help="write them in the COCO results format; ground truth beside it: FILE's name, .gt.json",
    )
    add("--report", type=Path, metavar="DIR", help="write numbers, table and pictures here")
    add(
        "--smooth",
        type=float,
        metavar="X",
        help="smooth score maps along each video, from the frames before: X times what was before, "
        "1 - X times the frame's (default: each frame by itself, as published)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--amp", choices=("auto", "off", "bf16", "fp16"), default="auto", help="mixed precision")
    add("--seed", type=int, default=0, help="split of a plain folder, as in training")
    add("--clip-set", choices=tuple(SIZES), default="default", help="size of the built-in set")
    add("--clip-seed", type=int, default=0, help="seed of the built-in clip set")
    return parser


def _check(options: argparse.Namespace, ranks: Ranks) -> None:
    for flag, seed in (("--seed", options.seed), ("--clip-seed", options.clip_seed)):
        if seed < 0:
            raise UserError(f"{flag} {seed}: must not be negative")
    if options.smooth is not None and not 0 < options.smooth < 1:
        raise UserError(f"--smooth {options.smooth}: must lie between 0 and 1")
    files = _files(options)
    taken: set[Path] = set()
    for flag, path in files.items():
        if path.resolve() in taken:
            raise UserError(f"{flag}: {path} is written by another option; give each its own file")
        taken.add(path.resolve())
        check_file(path)
    for folder in (options.report, options.save_maps):
        if folder is not None:
            check_folder(folder)
    if options.smooth is not None and options.save_maps is not None:
        raise UserError("--save-maps: stores each frame's own map; leave --smooth away")
    if options.split == "train" and options.save_maps is None:
        raise UserError("--split train: has no boxes to evaluate; it is for --save-maps DIR")
    if options.split == "train" and (files or options.report):
        flag = next(iter(files), "--report")
        raise UserError(f"--split train: has no boxes, so nothing for {flag}")
    if options.save_maps is not None and ranks.world > 1:
        raise UserError("--save-maps: stores maps in one process; start it without torchrun")


def _files(options: argparse.Namespace) -> dict[str, Path]:
    """The files that are asked for, by option."""
    wanted = {"--coco": options.coco, "--json": options.json, "--predictions": options.predictions}
    if options.coco is not None:
        wanted["--coco (ground truth)"] = ground_truth_path(options.coco)
    return {flag: path for flag, path in wanted.items() if path is not None}


def _evaluate(options: argparse.Namespace, ranks: Ranks) -> None:
    _check(options, ranks)
    console = Console(quiet=not ranks.main)
    device = pick_device(options.device, ranks.local)
    predicting = options.predictions is not None or options.coco is not None
    decoding = predicting or options.smooth is not None
    model, info = load_checkpoint(options.ckpt, "localizer" if decoding else None)
    records = _records(options, info, ranks, console)
    place = {
        "device": device, "autocast": make_autocast(options.amp, device), "console": console,
    }  # fmt: skip
    model = model.to(device, memory_format=torch.channels_last)
    if options.save_maps is not None:
        store_maps(model, info, records, options.save_maps, **place)
    if options.split == "train":
        return
    predictions = Predictions(records, info) if predicting else None
    summary = report_frames(
        model, info, records, _report(options, info), **place, ranks=ranks,
        on_batch=predictions.collect if predictions else None,
    )  # fmt: skip
    if predictions is not None:
        predictions.share(ranks)
    if ranks.main:
        _write(options, summary, predictions)


def _report(options: argparse.Namespace, info: CheckpointInfo) -> Report:
    asked = {name: value for name, value in vars(options).items() if value is not None}
    title = f"{options.ckpt.name} on {options.data or 'the built-in clip set'}, {options.split}"
    method = "localizer" if options.smooth is None else f"localizer, smoothed {options.smooth:g}"
    return Report(method, options.report, title, asked | asdict(info), smooth=options.smooth)


def _records(
    options: argparse.Namespace, info: CheckpointInfo, ranks: Ranks, console: Console
) -> list[BoxedFrame]:
    """The frames of the split, with the checkpoint's class numbers; a collective."""
    with ranks.main_first(), console.status("opening the data"):
        folder = options.data or builtin_folder(options.clip_set, options.clip_seed)
        data = open_data(folder, options.splits, seed=options.seed, cache=options.cache)
    for note in data.notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
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
    """The records with the checkpoint's class numbers."""
    unknown = [name for name in data.classes if name not in classes]
    if unknown:
        raise UserError(
            f"{ckpt}: knows the classes {', '.join(classes)}, not {', '.join(unknown)} of the data"
        )
    number = [classes.index(name) for name in data.classes]
    return [replace(record, label=number[record.label]) for record in records]
