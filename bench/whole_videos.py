"""What localizers say of every frame of held-out videos: steady boxes, and frames told as empty.

    python bench/whole_videos.py --ckpt FILE [FILE …] [--split val|test] [--json FILE]

On the built-in clip set, which knows the object's box in every frame, and which frames are empty.
For each share X of causal smoothing of score maps and class probabilities: the share of frames
whose box is right, how much boxes of frames in a row overlap and how often they jump, and how well
scores tell empty frames from others (area under the ROC). Several checkpoints, as of several seeds,
are given as mean ± standard deviation.
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

from colocam.data.decoding.images import ImageFrames
from colocam.data.layouts.builtin import EVERY_FRAME, SIZES, builtin_folder
from colocam.data.layouts.split_files import SplitRecord, read_split
from colocam.evaluation.boxes import Box, iou
from colocam.evaluation.consistency import Consistency
from colocam.evaluation.emptiness import SCORES, area_under_roc, emptiness
from colocam.evaluation.smoothing import Smoothing
from colocam.localization.inference import VideoLocalizer
from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from lib.machine import describe, file_name_of, headline
from lib.markdown_table import markdown_table, mean_and_deviation
from lib.result_files import result_path, write_results

SHARES = (0.0, 0.3, 0.5, 0.7)
BATCH_SIZE = 32


@dataclass(frozen=True)
class Shot:
    """Every frame of a shot, and what the localizer says of each by itself.

    Attributes:
        frames: (H, W, 3) uint8 RGB each.
        truth: the object's box; None where the frame is empty.
        likely: (T, K) class probabilities.
        maps: (T, S, S) score maps.
    """

    frames: list[np.ndarray]
    truth: list[Box | None]
    likely: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Numbers:
    """Of one checkpoint and one X; shares in %."""

    right: float
    overlap: float
    jumps: float
    ms: float
    roc: dict[str, float]


@dataclass(frozen=True)
class Row:
    """Of all checkpoints."""

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
    "right": "right boxes, %",
    "overlap": "IoU of frames in a row",
    "jumps": "jumps in 100 frames",
    "ms": "ms a frame",
    "roc_class": "empty frames, ROC: class",
    "roc_map": "score map",
    "roc_both": "both",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--ckpt", type=Path, nargs="+", required=True, metavar="FILE", help="localizers")
    add("--split", choices=("val", "test"), default="val", help="(default: val)")
    add("--clip-set", choices=tuple(SIZES), default="default", help="size of the built-in set")
    add("--clip-seed", type=int, default=0, help="its seed")
    add("--json", type=Path, metavar="FILE", help="(default: bench/results/whole_videos-*.json)")
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
    """The shots, each run through the localizer frame by frame."""
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
        likely, maps = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        truth = [_whole(record.boxes[0]) if record.boxes else None for record in group]
        yield Shot(frames, truth, likely, maps)


def _whole(box: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (round(side) for side in box)
    return x0, y0, x1, y1


def measure(localizer: VideoLocalizer, shots: Sequence[Shot], share: float) -> Numbers:
    """What smoothing by `share` (0: none) makes of the shots."""
    right: list[bool] = []
    steady, seconds = Consistency(), 0.0
    empty: list[bool] = []
    scores: dict[str, list[float]] = {how: [] for how in SCORES}
    for shot in shots:
        started = time.perf_counter()
        likely, maps = _smoothed(shot, share)
        seconds += time.perf_counter() - started
        boxes = []
        for frame, of_class, score_map in zip(shot.frames, likely, maps, strict=True):
            boxes.append(localizer.locate(of_class, score_map, frame.shape[1::-1]).box)
            for how in SCORES:
                scores[how].append(emptiness(of_class, score_map, how))
        empty += [box is None for box in shot.truth]
        right += [
            found is not None and float(iou([found], [box])[0, 0]) >= 0.5
            for found, box in zip(boxes, shot.truth, strict=True)
            if box is not None
        ]
        # As for the ground truth: an empty frame has no place to be steady at.
        steady.add(
            [None if box is None else own for own, box in zip(boxes, shot.truth, strict=True)]
        )
    return Numbers(
        100 * float(np.mean(right)), steady.mean_iou, steady.jumps_per_100,
        1e3 * seconds / len(empty), {how: area_under_roc(scores[how], empty) for how in SCORES},
    )  # fmt: skip


def _smoothed(shot: Shot, share: float) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """Class probabilities and score maps along a shot."""
    if share == 0:
        return shot.likely, shot.maps
    smoothing = Smoothing(share)
    pairs = [
        smoothing.next_of_all((of_class, of_map), frame)
        for of_class, of_map, frame in zip(shot.likely, shot.maps, shot.frames, strict=True)
    ]
    likely, maps = zip(*pairs, strict=True)
    return likely, maps


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
    machine: dict[str, object],
    options: argparse.Namespace,
    records: Sequence[SplitRecord],
) -> None:
    empty = sum(not record.boxes for record in records)
    lines = [
        f"Built-in clip set '{options.clip_set}', every frame of the {options.split} videos: "
        f"{len(records)} frames, {empty} of them empty; {len(options.ckpt)} checkpoints, mean ± "
        f"standard deviation; {headline(machine, 'cpu')}.",
        "",
        *markdown_table(HEADS, rows),
        "",
        "- Right: IoU of at least 0.5 with the object's box, at the threshold of the checkpoint, "
        "of frames that show the object. A jump: boxes of frames in a row overlap by less than "
        "0.3.",
        "- ROC: area under it; 0.5 is chance. Class: 1 - the highest probability; score map: 1 - "
        "the largest score; both: 1 - their product.",
        "- ms a frame: smoothing alone.",
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
    write_results(path, result, lines)


if __name__ == "__main__":
    sys.exit(main())
