"""How long CorLoc takes over the maps of a whole test set, held in memory.

    python bench/evaluation.py [--video FILE] [--ckpt FILE] [--maps 1781] [--json FILE]

What it costs depends on the maps: every level that cuts one differently is looked for contours.
So it is timed on three kinds, all of the frames of one video: as smooth as a CAM; score maps of a
localizer, where --ckpt gives one; and the brightness of the frames, rougher than maps are.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress

from colocam.data.loading.transforms import to_tensor
from colocam.evaluation.boxes import quantize
from colocam.evaluation.contour_workers import contour_workers, useful_processes
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.evaluate import run_model
from colocam.models import Localizer
from colocam.models.checkpoint import load_checkpoint
from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from lib.frames import FrameSet, load_frames
from lib.machine import OtherProcesses, describe, distrust, file_name_of, headline
from lib.markdown_table import cell, markdown_table
from lib.result_files import result_path, write_results

MAPS, SIDE, MEAN_BOXES, BATCH_SIZE, STRIDE = 1781, 224, 1.5, 32, 8  # a YouTube-Objects 2.2 test set
TARGET = 30  # seconds
CAM, SCORE, ROUGH = "as smooth as a CAM", "score maps of a localizer", "brightness of the frames"
HEADS = {
    "kind": "maps",
    "levels": "levels a map",
    "processes": "processes",
    "seconds": "s",
    "maps_per_s": "maps/s",
}


@dataclass(frozen=True)
class Row:
    """One kind of maps.

    Attributes:
        kind: which.
        maps: how many.
        levels: that differ, of the 8 bits, mean of the maps.
        processes: that looked for contours.
        seconds: until the summary stood.
        maps_per_s: maps a second.
        others_cpu_percent: of the machine, meanwhile; None where it cannot be told.
    """

    kind: str
    maps: int
    levels: float
    processes: int
    seconds: float
    maps_per_s: float
    others_cpu_percent: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--video", type=Path, metavar="FILE", help="whose frames make the maps (default: drawn)")
    add("--ckpt", type=Path, metavar="FILE", help="a localizer, for score maps")
    add("--maps", type=int, default=MAPS, metavar="N", help=f"(default: {MAPS})")
    add("--json", type=Path, metavar="FILE", help="(default: bench/results/evaluation-*.json)")
    options = parser.parse_args(argv)
    if options.maps < 1:
        raise UserError(f"--maps {options.maps}: must be at least 1")
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()  # first: it notes how busy the machine is before this run
    path = result_path(options.json, f"evaluation-{file_name_of(machine, 'cpu')}")
    frames = load_frames(options.video, 1, SIDE) if options.video is None else _all_of(options)
    kinds: dict[str, Callable[[], list[np.ndarray]]] = {
        CAM: lambda: [_smooth(frame) for frame in frames.frames],
        ROUGH: lambda: [_brightness(frame) for frame in frames.frames],
    }
    if options.ckpt is not None:
        model, _ = load_checkpoint(options.ckpt, "localizer")
        kinds[SCORE] = lambda: list(_score_maps(model, frames))
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for kind, make in kinds.items():
            bar = progress.add_task(kind, total=options.maps)
            maps = list(itertools.islice(itertools.cycle(make()), options.maps))
            rows.append(time_maps(kind, maps, lambda n, bar=bar: progress.advance(bar, n)))
    _write(path, rows, machine, frames.about)


def _all_of(options: argparse.Namespace) -> FrameSet:
    """Every frame of the video, at most as many as maps are wanted."""
    frames = load_frames(options.video, options.maps, SIDE)
    kept = frames.frames[: min(frames.distinct, options.maps)]
    about = f"{len(kept)} natural frames of {options.video.name}, as often as it takes"
    return FrameSet(kept, len(kept), about)


def time_maps(kind: str, maps: Sequence[np.ndarray], report: Callable[[int], None]) -> Row:
    """Times an evaluation over maps (H, W) float32 in [0, 1], in batches as evaluate.py has them.

    Args:
        kind: of the maps.
        maps: of frames with one to three boxes each, drawn from a seed.
        report: is told how many were done now.
    """
    rng = np.random.default_rng(0)
    truths = [_draw_boxes(rng, one.shape) for one in maps]
    processes = useful_processes(len(maps))
    corloc = CorLoc([str(label) for label in range(10)])
    others, started = OtherProcesses(), time.perf_counter()
    with contour_workers(processes) as pool:
        for start in range(0, len(maps), BATCH_SIZE):
            places = range(start, min(start + BATCH_SIZE, len(maps)))
            corloc.add_all(
                [(maps[i], truths[i], i % 10, range(10), f"video {i // 20}") for i in places], pool
            )
            report(len(places))
    corloc.summary(0.5)
    seconds = time.perf_counter() - started
    share = others.percent()  # the pool's processes have ended
    levels = float(np.mean([len(np.unique(quantize(one))) for one in maps[:200]]))
    return Row(kind, len(maps), levels, processes, seconds, len(maps) / seconds, share)


def _draw_boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    count = min(3, 1 + rng.poisson(MEAN_BOXES - 1))
    corners = np.sort(rng.integers(0, shape[0], (count, 2, 2)), axis=1)
    return corners.reshape(count, 4)


def _brightness(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _smooth(frame: np.ndarray) -> np.ndarray:
    """A map of a backbone's last stride, enlarged."""
    small = cv2.resize(
        _brightness(frame), (SIDE // STRIDE, SIDE // STRIDE), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def _score_maps(model: Localizer, frames: FrameSet) -> Iterator[np.ndarray]:
    """S¹ of the frames as they are, whatever size the localizer was trained at."""
    for start in range(0, len(frames.frames), BATCH_SIZE):
        images = to_tensor(list(frames.frames[start : start + BATCH_SIZE]))
        yield from run_model(model, images, None, None).scores


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table has to know."""
    lines = []
    for row in rows:
        if row.maps == MAPS and row.processes == 2:
            verdict = "reached" if row.seconds <= TARGET else "missed"
            lines.append(f"{row.kind}: at most {TARGET} s on two cores: {verdict}.")
    worst = max((row.others_cpu_percent or 0 for row in rows), default=0)
    return lines + distrust(worst)


def _write(path: Path, rows: Sequence[Row], machine: dict[str, object], about: str) -> None:
    lines = [
        f"{headline(machine, 'cpu')}; {cell(rows[0].maps)} maps of {SIDE}×{SIDE}; {about}.",
        "",
        *markdown_table(HEADS, rows),
        "",
        *(f"- {line}" for line in notes(rows)),
    ]
    result = {"machine": machine, "data": about, "rows": [asdict(row) for row in rows]}
    write_results(path, result, lines)


if __name__ == "__main__":
    sys.exit(main())
