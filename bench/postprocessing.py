"""CorLoc and time of the postprocessing of score maps: smoothing, refinement by the joint CRF.

    python bench/postprocessing.py --ckpt FILE … --data DIR [--splits DIR] [--results DIR]

Each checkpoint is evaluated on its validation and test frames with every setting, from the
earlier frames of their videos; a row is the mean over the checkpoints. The threshold of "one τ" is
chosen on validation with the same setting. The time is that of localizing the frames of the first
test video, forward pass included, decoding not. The results are written after each checkpoint.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lib.arguments import make_parser
from lib.machine import Machine, OtherProcesses, describe, disturbance_note, file_name_of, headline
from lib.markdown_table import markdown_table, mean_and_deviation, page
from lib.result_files import RESULTS, write_results

from colocam.data.layouts.open import open_data
from colocam.data.layouts.stored_split import StoredSplit
from colocam.data.records import BoxedFrame, VideoData
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.evaluate import evaluate, seed_cam_of
from colocam.localization.inference import VideoLocalizer
from colocam.postprocessing import Postprocessing, Refinement, Smoothing
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

SETTINGS = (
    Postprocessing(),
    Postprocessing(smooth=0.3),
    Postprocessing(refine=1),
    Postprocessing(refine=2),
    Postprocessing(smooth=0.3, refine=1),
)
TIMED, BATCH = 32, 16  # frames
HEADS = {
    "setting": "",
    "published": "CorLoc",
    "one": "CorLoc, one τ",
    "high": "IoU 0.7",
    "on_validation": "on validation",
    "validation_one": "on validation, one τ",
    "cost": "ms per frame",
}


@dataclass
class Row:
    """Results of a setting, each a value per checkpoint in %.

    Attributes:
        setting: in words.
        corloc, corloc_honest, iou07: on test frames, by the published protocol, with one threshold,
            and by the published protocol at IoU 0.7.
        validation, validation_honest: on validation frames.
        ms: per frame.
    """

    setting: str
    corloc: list[float] = field(default_factory=list)
    corloc_honest: list[float] = field(default_factory=list)
    iou07: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    validation_honest: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    published = property(lambda self: mean_and_deviation(self.corloc))
    one = property(lambda self: mean_and_deviation(self.corloc_honest))
    high = property(lambda self: mean_and_deviation(self.iou07))
    on_validation = property(lambda self: mean_and_deviation(self.validation))
    validation_one = property(lambda self: mean_and_deviation(self.validation_honest))
    cost = property(lambda self: mean_and_deviation(self.ms))

    def add(self, validation: CorLoc, test: CorLoc) -> None:
        """Adds the result of a checkpoint."""
        threshold = validation.best_threshold()
        on_validation, on_test = validation.summary(threshold), test.summary(threshold)
        self.corloc.append(on_test["corloc"]["0.5"])
        self.corloc_honest.append(on_test["corloc_honest"]["0.5"])
        self.iou07.append(on_test["corloc"]["0.7"])
        self.validation.append(on_validation["corloc"]["0.5"])
        self.validation_honest.append(on_validation["corloc_honest"]["0.5"])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--ckpt", type=Path, nargs="+", required=True, metavar="FILE", help="localizers")
    add("--data", type=Path, required=True, metavar="DIR", help="videos, see docs/data.md")
    add("--splits", type=Path, metavar="DIR", help="folder of split files")
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="(default: bench/results)")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> None:
    machine = describe()
    rows = [Row(setting.describe() or "none") for setting in SETTINGS]
    localizers = [VideoLocalizer(path, "auto", "off") for path in options.ckpt]
    data = [_data(options, localizer) for localizer in localizers]
    others = OtherProcesses()
    for localizer, own in zip(localizers, data, strict=True):
        for row, setting in zip(rows, SETTINGS, strict=True):
            row.ms.append(_milliseconds(localizer, own.test[0], setting))
    note = disturbance_note(others.percent())
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("evaluating", total=len(localizers) * len(SETTINGS))
        for localizer, own in zip(localizers, data, strict=True):
            for row, setting in zip(rows, SETTINGS, strict=True):
                row.add(*(_corloc(localizer, frames, setting) for frames in (own.val, own.test)))
                progress.advance(bar)
            _write(options, machine, rows, note)


def _data(options: argparse.Namespace, localizer: VideoLocalizer) -> VideoData:
    stored = None if localizer.info.split is None else StoredSplit.from_json(localizer.info.split)
    split = None if options.splits else stored
    data = open_data(options.data, options.splits, seed=0, split=split, evaluating=True)
    for name, frames in (("validation", data.val), ("test", data.test)):
        if not any(frame.boxes for frame in frames):
            raise UserError(f"{options.data}: no {name} frame has boxes")
    if tuple(data.classes) != tuple(localizer.classes):
        raise UserError(f"{options.data}: its classes are not those of the checkpoints")
    return data


def _corloc(
    localizer: VideoLocalizer, frames: Sequence[BoxedFrame], setting: Postprocessing
) -> CorLoc:
    model = localizer.model
    found = evaluate(
        model, frames, localizer.classes, side=localizer.info.size,
        cam=seed_cam_of(model, localizer.info), device=localizer.device,
        autocast=localizer.autocast, postprocessing=setting,
    ).localizer  # fmt: skip
    assert found is not None
    return found


def _milliseconds(localizer: VideoLocalizer, record: BoxedFrame, setting: Postprocessing) -> float:
    """Time per frame of localizing the first frames of a video, in batches."""
    read = record.frames.read(range(min(TIMED, len(record.frames))))
    frames = [frame for frame in read if frame is not None]
    localizer.infer(frames[:BATCH])  # warm-up
    refinement = None if setting.refine is None else Refinement(setting.refine)
    smoothing = None if setting.smooth is None else Smoothing(setting.smooth)
    began = time.perf_counter()
    for start in range(0, len(frames), BATCH):
        part = frames[start : start + BATCH]
        likely, maps = localizer.infer(part, refinement)
        if smoothing is not None:
            for of_class, of_map, frame in zip(likely, maps, part, strict=True):
                smoothing.next_of_all((of_class, of_map), frame)
    return 1e3 * (time.perf_counter() - began) / len(frames)


def _checkpoints(rows: Sequence[Row]) -> str:
    count = len(rows[-1].corloc)
    return "1 checkpoint" if count == 1 else f"{count} checkpoints"


def _write(options: argparse.Namespace, machine: Machine, rows: list[Row], note: list[str]) -> None:
    device = "cpu" if machine["gpu"] is None else "cuda"
    encoder = VideoLocalizer(options.ckpt[0], "cpu", "off").info.encoder
    heading = (
        f"**Postprocessing of score maps, {encoder}, {_checkpoints(rows)}.** CorLoc, % "
        f"at IoU 0.5, mean ± standard deviation; {headline(machine, device)}."
    )
    notes = [
        "refined over n frames: by the joint CRF, colours and features, over a frame and the n − 1 "
        "before it; smoothed X: running mean over the frames before.",
        "ms per frame: forward pass and postprocessing.",
        *note,
    ]
    result = {"machine": machine, "rows": [asdict(row) for row in rows]}
    path = options.results / f"postprocessing-{file_name_of(machine, device)}.json"
    write_results(path, result, page(heading, markdown_table(HEADS, rows), notes), ".md")


if __name__ == "__main__":
    sys.exit(main())
