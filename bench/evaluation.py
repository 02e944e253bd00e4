"""Time of CorLoc over the maps of a test set, held in memory.

    python bench/evaluation.py [--video PATH] [--ckpt FILE] [--maps 1781] [--json FILE]

Contours are extracted at every distinct level of a map, so that the time depends on the maps. Three
kinds are timed, computed from the frames of one video: maps as smooth as a CAM, score maps of a
localizer (with --ckpt), and the brightness of the frames, which is rougher than maps of a model.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress

from lib.arguments import SIDE, add_json, add_video, check_at_least, make_parser
from lib.frames import FrameSet, load_frames
from lib.machine import Machine, OtherProcesses, describe, disturbance_note, file_name_of, headline
from lib.markdown_table import cell, markdown_table, page
from lib.result_files import result_path, write_results

from colocam.data.loading.transforms import to_tensor
from colocam.evaluation.boxes import quantize
from colocam.evaluation.contour_workers import contour_workers, useful_processes
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.evaluate import run_model
from colocam.models import Localizer
from colocam.models.checkpoint import load_checkpoint
from colocam.runtime.entry import exit_status

MAPS, MEAN_BOXES = 1781, 1.5  # test set of YouTube-Objects v2.2
BATCH_SIZE, STRIDE = 32, 8
TARGET = 30  # seconds
CAM, SCORE, ROUGH = "as smooth as a CAM", "score maps of a localizer", "brightness of the frames"
HEADS = {
    "kind": "maps",
    "levels": "levels per map",
    "processes": "processes",
    "seconds": "s",
    "maps_per_s": "maps/s",
}


@dataclass(frozen=True)
class Row:
    """One kind of maps.

    Attributes:
        kind: of the maps.
        maps: number of maps.
        levels: distinct 8-bit levels per map, mean over the maps.
        processes: that extract contours.
        seconds: of the evaluation.
        maps_per_s: maps per second.
        others_cpu_percent: CPU use of other processes during the measurement.
    """

    kind: str
    maps: int
    levels: float
    processes: int
    seconds: float
    maps_per_s: float
    others_cpu_percent: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_video(parser)
    add("--ckpt", type=Path, metavar="FILE", help="checkpoint of a localizer, for score maps")
    add("--maps", type=int, default=MAPS, metavar="N", help=f"number of maps (default: {MAPS})")
    add_json(parser, "evaluation-PROCESSOR")
    options = parser.parse_args(argv)
    check_at_least(options, maps=1)
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()  # first: it includes the load before this run
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
            rows.append(time_maps(kind, maps, partial(progress.advance, bar)))
    _write(path, rows, machine, frames.about)


def _all_of(options: argparse.Namespace) -> FrameSet:
    """Loads the frames of the video, at most one per map."""
    frames = load_frames(options.video, options.maps, SIDE)
    kept = frames.frames[: min(frames.distinct, options.maps)]
    about = f"{len(kept)} natural frames of {options.video.name}, repeated"
    return FrameSet(kept, len(kept), about)


def time_maps(kind: str, maps: Sequence[np.ndarray], report: Callable[[int], None]) -> Row:
    """Times an evaluation in batches as in evaluate.py.

    Args:
        kind: of the maps.
        maps: (H, W) float32 in [0, 1] each; one to three boxes per map are drawn from a seed.
        report: called with the number of maps of each finished batch.
    """
    rng = np.random.default_rng(0)
    truths = [_draw_boxes(rng, one.shape) for one in maps]
    processes = useful_processes(len(maps))
    corloc = CorLoc([str(label) for label in range(10)])
    others, started = OtherProcesses(), time.perf_counter()
    with contour_workers(processes) as pool:
        for start in range(0, len(maps), BATCH_SIZE):
            batch = range(start, min(start + BATCH_SIZE, len(maps)))
            corloc.add_all(
                [(maps[i], truths[i], i % 10, range(10), f"video {i // 20}") for i in batch], pool
            )
            report(len(batch))
    corloc.summary(0.5)
    seconds = time.perf_counter() - started
    share = others.percent()  # the processes of the pool have ended
    levels = float(np.mean([len(np.unique(quantize(one))) for one in maps[:200]]))
    return Row(kind, len(maps), levels, processes, seconds, len(maps) / seconds, share)


def _draw_boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    count = min(3, 1 + rng.poisson(MEAN_BOXES - 1))
    corners = np.sort(rng.integers(0, shape[0], (count, 2, 2)), axis=1)
    return corners.reshape(count, 4)


def _brightness(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _smooth(frame: np.ndarray) -> np.ndarray:
    """Brightness at the resolution of a CAM, upsampled."""
    small = cv2.resize(
        _brightness(frame), (SIDE // STRIDE, SIDE // STRIDE), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def _score_maps(model: Localizer, frames: FrameSet) -> Iterator[np.ndarray]:
    """Score maps S¹ of the frames at their size."""
    for start in range(0, len(frames.frames), BATCH_SIZE):
        images = to_tensor(list(frames.frames[start : start + BATCH_SIZE]))
        scores = run_model(model, images, None, None).scores
        assert scores is not None  # it decodes
        yield from scores


def notes(rows: Sequence[Row]) -> list[str]:
    """Notes below the table."""
    lines = []
    for row in rows:
        if row.maps == MAPS and row.processes == 2:
            verdict = "reached" if row.seconds <= TARGET else "missed"
            lines.append(f"{row.kind}: at most {TARGET} s on two cores: {verdict}.")
    worst = max((row.others_cpu_percent or 0 for row in rows), default=0)
    return lines + disturbance_note(worst)


def _write(path: Path, rows: Sequence[Row], machine: Machine, about: str) -> None:
    heading = f"{headline(machine, 'cpu')}; {cell(rows[0].maps)} maps of {SIDE}×{SIDE}; {about}."
    result = {"machine": machine, "data": about, "rows": [asdict(row) for row in rows]}
    write_results(path, result, page(heading, markdown_table(HEADS, rows), notes(rows)))


if __name__ == "__main__":
    sys.exit(main())
