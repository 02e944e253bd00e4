"""Localization over whole videos: correct boxes, temporal consistency, detection of empty frames.

    python bench/whole_videos.py --ckpt FILE [FILE …] [--split val|test] [--json FILE]

Runs on the built-in clip set, which has the box of the object in every frame and marks empty
frames. For each share X of causal smoothing of score maps and class probabilities it reports: the
share of frames with a correct box, the overlap of boxes of consecutive frames and how often they
jump, and the area under the ROC of empty frames by score. Over several checkpoints, e.g. of
several seeds: mean ± standard deviation.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from lib.arguments import add_json, make_parser
from lib.machine import Machine, describe, file_name_of, headline
from lib.markdown_table import markdown_table, mean_and_deviation, page
from lib.result_files import result_path, write_results

from colocam.data.decoding.images import ImageFrames
from colocam.data.layouts.builtin import EVERY_FRAME, SIZES, builtin_folder
from colocam.data.layouts.split_files import SplitRecord, read_split
from colocam.evaluation.boxes import Box, iou
from colocam.evaluation.consistency import Consistency
from colocam.evaluation.emptiness import SCORES, area_under_roc, emptiness
from colocam.localization.inference import VideoLocalizer
from colocam.postprocessing import Smoothing
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

SHARES = (0.0, 0.3, 0.5, 0.7)
BATCH_SIZE = 32


@dataclass(frozen=True)
class Shot:
    """All frames of a shot, and outputs of the localizer per frame.

    Attributes:
        frames: (H, W, 3) uint8 RGB each.
        truth: ground truth box; None where the frame is empty.
        probabilities: (T, K) of the classes.
        maps: (T, S, S) score maps.
    """

    frames: list[np.ndarray]
    truth: list[Box | None]
    probabilities: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Numbers:
    """Results of one checkpoint and one X.

    Attributes:
        right: share of frames with an object whose box is correct, %.
        overlap: mean IoU of boxes of consecutive frames.
        jumps: per 100 frames.
        ms: of smoothing, per frame.
        roc: area under the ROC of empty frames, by score (`SCORES`).
    """

    right: float
    overlap: float
    jumps: float
    ms: float
    roc: dict[str, float]


@dataclass(frozen=True)
class Row:
    """Results of all checkpoints for one X, formatted."""

    name: str
    right: str
    overlap: str
    jumps: str
    ms: str
    roc_class: str
    roc_map: str
    roc_both: str


HEADS = {
    "name": "X",
    "right": "correct boxes, %",
    "overlap": "IoU of consecutive boxes",
    "jumps": "jumps per 100 frames",
    "ms": "ms per frame",
    "roc_class": "empty frames, ROC: class",
    "roc_map": "score map",
    "roc_both": "both",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--ckpt",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="checkpoints of localizers",
    )
    add("--split", choices=("val", "test"), default="val", help="(default: val)")
    add(
        "--clip-set",
        choices=tuple(SIZES),
        default="default",
        help="size of the built-in set (default: default)",
    )
    add("--clip-seed", type=int, default=0, help="seed of the built-in set (default: 0)")
    add_json(parser, "whole_videos-SPLIT-PROCESSOR")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> None:
    machine = describe()
    path = result_path(options.json, f"whole_videos-{options.split}-{file_name_of(machine, 'cpu')}")
    folder = builtin_folder(options.clip_set, options.clip_seed)
    records = read_split(folder / EVERY_FRAME / options.split)
    numbers: dict[float, list[Numbers]] = {share: [] for share in SHARES}
    truth = Consistency()
    for ckpt in options.ckpt:
        localizer = VideoLocalizer(ckpt)
        shots = list(_shots(localizer, folder, records, ckpt.name))
        truth = Consistency()
        for shot in shots:
            truth.add(shot.truth)
        for share in SHARES:
            numbers[share].append(measure(localizer, shots, share))
    rows = [_row(f"{share:g}", of_share) for share, of_share in numbers.items()]
    rows.append(
        Row("ground truth", "100", f"{truth.mean_iou:.3f}", f"{truth.jumps_per_100:.2f}", *[""] * 4)
    )
    _write(path, rows, numbers, machine, options, records)


def _shots(
    localizer: VideoLocalizer, folder: Path, records: Sequence[SplitRecord], name: str
) -> Iterator[Shot]:
    """Runs the localizer on every frame of every shot."""
    by_shot = itertools.groupby(records, key=lambda record: record.id.rpartition("/")[0])
    groups = [(shot, list(group)) for shot, group in by_shot]
    for shot, group in track(groups, name, console=Console(stderr=True), transient=True):
        paths = tuple(str(folder / record.id) for record in group)
        frames = [frame for frame in ImageFrames(paths, shot) if frame is not None]
        if len(frames) < len(group):
            raise UserError(f"{folder / shot}: frames cannot be decoded; remove {folder}")
        outputs = [
            localizer.infer(frames[start : start + BATCH_SIZE])
            for start in range(0, len(frames), BATCH_SIZE)
        ]
        probabilities, maps = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        truth = [_rounded(record.boxes[0]) if record.boxes else None for record in group]
        yield Shot(frames, truth, probabilities, maps)


def _rounded(box: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (round(side) for side in box)
    return x0, y0, x1, y1


def measure(localizer: VideoLocalizer, shots: Sequence[Shot], share: float) -> Numbers:
    """Evaluates the shots with smoothing by `share` (0: none)."""
    right: list[bool] = []
    consistency, seconds = Consistency(), 0.0
    empty: list[bool] = []
    scores: dict[str, list[float]] = {how: [] for how in SCORES}
    for shot in shots:
        started = time.perf_counter()
        probabilities, maps = _smoothed(shot, share)
        seconds += time.perf_counter() - started
        boxes = []
        for frame, of_class, score_map in zip(shot.frames, probabilities, maps, strict=True):
            boxes.append(localizer.locate(of_class, score_map, frame.shape[1::-1]).box)
            for how in SCORES:
                scores[how].append(emptiness(of_class, score_map, how))
        empty += [box is None for box in shot.truth]
        right += [
            found is not None and float(iou([found], [box])[0, 0]) >= 0.5
            for found, box in zip(boxes, shot.truth, strict=True)
            if box is not None
        ]
        # As for the ground truth: consistency is defined on frames with an object only.
        consistency.add(
            [None if box is None else own for own, box in zip(boxes, shot.truth, strict=True)]
        )
    return Numbers(
        100 * float(np.mean(right)), consistency.mean_iou, consistency.jumps_per_100,
        1e3 * seconds / len(empty), {how: area_under_roc(scores[how], empty) for how in SCORES},
    )  # fmt: skip


def _smoothed(shot: Shot, share: float) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """Class probabilities and score maps along a shot, smoothed by `share`."""
    if share == 0:
        return list(shot.probabilities), list(shot.maps)
    smoothing = Smoothing(share)
    pairs = [
        smoothing.next_of_all((of_class, of_map), frame)
        for of_class, of_map, frame in zip(shot.probabilities, shot.maps, shot.frames, strict=True)
    ]
    probabilities, maps = zip(*pairs, strict=True)
    return probabilities, maps


def _row(name: str, numbers: Sequence[Numbers]) -> Row:
    return Row(
        name,
        mean_and_deviation([one.right for one in numbers], 1),
        mean_and_deviation([one.overlap for one in numbers], 3),
        mean_and_deviation([one.jumps for one in numbers], 2),
        mean_and_deviation([one.ms for one in numbers], 3),
        *(mean_and_deviation([one.roc[how] for one in numbers], 3) for how in SCORES),
    )


def _write(
    path: Path,
    rows: Sequence[Row],
    numbers: dict[float, list[Numbers]],
    machine: Machine,
    options: argparse.Namespace,
    records: Sequence[SplitRecord],
) -> None:
    empty = sum(not record.boxes for record in records)
    heading = (
        f"Built-in clip set '{options.clip_set}', every frame of the {options.split} videos: "
        f"{len(records)} frames, {empty} of them empty; {len(options.ckpt)} checkpoints, mean ± "
        f"standard deviation; {headline(machine, 'cpu')}."
    )
    notes = [
        "Correct: IoU of at least 0.5 with the ground truth, at the threshold of the checkpoint, "
        "over frames with an object. Jump: the IoU of boxes of consecutive frames is below 0.3.",
        "ROC: area under the curve; 0.5 is chance. Class: 1 − the highest probability; score map: "
        "1 − the largest score; both: 1 − their product.",
        "ms per frame: smoothing only.",
    ]
    result = {
        "machine": machine,
        "split": options.split,
        "frames": len(records),
        "empty": empty,
        "checkpoints": [str(ckpt) for ckpt in options.ckpt],
        "rows": {f"{share:g}": [asdict(one) for one in own] for share, own in numbers.items()},
        "table": [asdict(row) for row in rows],
    }
    write_results(path, result, page(heading, markdown_table(HEADS, rows), notes))


if __name__ == "__main__":
    sys.exit(main())
