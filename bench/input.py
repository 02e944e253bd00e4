"""Throughput of data loading: from files, while filling the cache, and from the cache.

    python bench/input.py [--data DIR] [--workers 0 1 2] [--json FILE]

Batches of stage 2 as in training: 32 frames of 224×224, cropped from 256×256, in sequences of 4. An
epoch is timed from its start to its last batch, without other work. Training steps on the same
hardware are listed for comparison if bench/train_step.py has measured them.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lib.arguments import (
    SIDE,
    add_data,
    add_json,
    add_size,
    check_at_least,
    make_parser,
)
from lib.machine import (
    Machine,
    OtherProcesses,
    describe,
    disturbance_note,
    file_name_of,
    headline,
    processor_name,
)
from lib.markdown_table import cell, markdown_table, page
from lib.result_files import RESULTS, result_path, write_results

from colocam.data.decoding.video_file import ImageFrames, VideoFrames
from colocam.data.layouts.builtin import builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.loading.cache import FrameCache
from colocam.data.loading.loader import SequenceLoader, SequenceSettings
from colocam.data.loading.sampling import frame_window
from colocam.data.records import Shot
from colocam.data.shots.shots import place_in_video
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

RESIZE, BATCH_SIZE, FRAMES, FRAME_LIMIT = 256, 32, 4, 0.6
TARGET, TARGET_WORKERS = 400, 2  # frames per second from the cache
FILES, FILLING, DISK, MEMORY = "files", "files, filling the cache", "cache, disk", "cache, memory"


@dataclass(frozen=True)
class Row:
    """One source of frames with one number of processes.

    Attributes:
        source: of the frames.
        workers: decoding processes.
        batches, frames: of the timed epoch.
        seconds: its duration.
        frames_per_s: frames loaded per second.
        ms: per batch.
        stored_per_s: frames written to the cache per second; None: none are.
        others_cpu_percent: CPU use of other processes during the measurement.
    """

    source: str
    workers: int
    batches: int
    frames: int
    seconds: float
    frames_per_s: float
    ms: float
    stored_per_s: float | None
    others_cpu_percent: float | None


@dataclass(frozen=True)
class StepRow:
    """A training step as a row of the same table."""

    source: str
    frames_per_s: float
    ms: float
    workers: None = None
    stored_per_s: None = None


HEADS = {
    "source": "frames from",
    "workers": "processes",
    "frames_per_s": "frames/s",
    "ms": "ms a batch",
    "stored_per_s": "stored frames/s",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_data(parser, "the built-in clip set, size 'large'")
    add("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    add("--batches", type=int, default=32, help="batches of the timed epoch (default: 32)")
    add_size(parser, "crops")
    add(
        "--scratch",
        type=Path,
        metavar="DIR",
        help="parent folder of the cache (default: that of temporary files)",
    )
    add_json(parser, "input-PROCESSOR")
    options = parser.parse_args(argv)
    check_at_least(options, workers=0, batches=2, size=1)
    if options.scratch is not None and not options.scratch.is_dir():
        raise UserError(f"--scratch {options.scratch}: no such folder")
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()  # first: it includes the load before this run
    path = result_path(options.json, f"input-{file_name_of(machine, 'cpu')}")
    data = open_data(options.data or builtin_folder("large", 0), options.splits)
    if not data.train:
        raise UserError(f"{options.data}: no training shots; give a data set with some")
    settings = SequenceSettings(
        FRAMES, "adjacent", FRAME_LIMIT, round(options.size * RESIZE / SIDE), options.size, seed=0
    )
    shots = data.train[: options.batches * (BATCH_SIZE // FRAMES)]
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=4 * len(options.workers))
        for workers in options.workers:
            with tempfile.TemporaryDirectory(prefix="frames-", dir=options.scratch) as folder:
                loading = Loading(shots, settings, options.batches, workers, Path(folder))
                for measure in (loading.files, loading.filling, loading.disk, loading.memory):
                    progress.update(bar, description=f"{workers} processes: {measure.__name__}")
                    rows.append(measure())
                    progress.advance(bar)
    about = _about(options.data, shots)
    steps = step_rows(RESULTS, machine)
    _write(path, rows, steps, machine, settings, about)


class Loading:
    """Measurements with one number of processes; its methods are called once each, in order.

    Args:
        shots: of the epoch, repeated to fill it.
        settings: of sequences and crops.
        batches: per epoch.
        workers: decoding processes.
        folder: of the cache, empty.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        settings: SequenceSettings,
        batches: int,
        workers: int,
        folder: Path,
    ) -> None:
        self.shots, self.settings, self.workers, self.folder = shots, settings, workers, folder
        count = batches * (BATCH_SIZE // FRAMES)
        self.repeated = tuple(itertools.islice(itertools.cycle(shots), count))

    def files(self) -> Row:
        """Loads from files, without a cache."""
        return self._time(FILES, self.repeated, None, uncached=_files_of(self.shots))

    def filling(self) -> Row:
        """Loads every shot once and fills the cache; includes the start of the processes."""
        stored = sum(len(frame_window(len(shot.frames), FRAME_LIMIT)) for shot in self.shots)
        files = _files_of(self.shots)
        return self._time(FILLING, self.shots, self._cache(), uncached=files, stored=stored)

    def disk(self) -> Row:
        """Loads from a cache that is not in the page cache of the system."""
        files = self.folder.iterdir()
        return self._time(DISK, self.repeated, self._cache(), uncached=files)

    def memory(self) -> Row:
        """Loads from a cache that is in the page cache of the system."""
        return self._time(MEMORY, self.repeated, self._cache())

    def _cache(self) -> FrameCache:
        return FrameCache(self.folder, max_bytes=2**60)

    def _time(
        self,
        source: str,
        shots: Sequence[Shot],
        cache: FrameCache | None,
        uncached: Iterable[str | Path] = (),
        stored: int | None = None,
    ) -> Row:
        others = OtherProcesses()
        loader = SequenceLoader(
            shots, self.settings, BATCH_SIZE, workers=self.workers, cache=cache, warn=_fail
        )
        batches = len(loader)
        if stored is None:
            list(loader.epoch(0, first=batches - 1))  # starts the processes
        drop_page_cache(uncached)
        started = time.perf_counter()
        frames = sum(len(batch.images) for batch in loader.epoch(1) if not batch.blank)
        seconds = time.perf_counter() - started
        loader.close()
        if not frames:
            raise UserError("--data: no training frame can be decoded")
        return Row(
            source,
            self.workers,
            batches,
            frames,
            seconds,
            frames / seconds,
            1e3 * seconds / batches,
            None if stored is None else stored / seconds,
            others.percent(),  # the decoding processes have ended
        )


def drop_page_cache(files: Iterable[str | Path]) -> None:
    """Drops files from the page cache of the system, where supported."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in files:
        try:
            number = os.open(file, os.O_RDONLY)
        except OSError:  # a file that cannot be read
            continue
        try:
            os.fsync(number)  # pages not yet on the disk cannot be dropped
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(number)


def step_rows(folder: Path, machine: Machine) -> list[StepRow]:
    """Training steps on this hardware, from the result files of bench/train_step.py."""
    rows = []
    for path in sorted(folder.glob("train_step-*.json")):
        step = json.loads(path.read_text())
        name = processor_name(machine, step["device"])
        if processor_name(step["machine"], step["device"]) != name or step["size"] != SIDE:
            continue
        how = ", deterministic" if step["deterministic"] else ""
        source = f"a training step: {step['encoder']}, {name}{how}"
        rate = step["frames_per_s"]
        rows.append(StepRow(source, rate, 1e3 * step["frames"] / rate))
    return rows


def notes(rows: Sequence[Row], steps: Sequence[StepRow], size: int) -> list[str]:
    """Notes below the table."""
    lines = [
        "Files, and the cache on disk, are dropped from the page cache before each measurement; "
        "filling includes the start of the processes."
    ]
    cached = {row.workers: row.frames_per_s for row in rows if row.source == MEMORY}
    if size == SIDE and TARGET_WORKERS in cached:
        rate = cached[TARGET_WORKERS]
        lines.append(
            f"{TARGET} frames/s from the cache with {TARGET_WORKERS} processes: "
            f"{'reached' if rate >= TARGET else 'missed'} ({cell(rate)})."
        )
    if steps and cached:
        need, rate = max(step.frames_per_s for step in steps), min(cached.values())
        verdict = "does not wait for the cache" if rate >= need else "waits for the cache"
        lines.append(
            f"Training consumes at most {cell(need)} frames/s on this machine and the cache in "
            f"memory provides at least {cell(rate)}: training {verdict}."
        )
    worst = max((row.others_cpu_percent or 0 for row in rows), default=0)
    return lines + disturbance_note(worst)


def _write(
    path: Path,
    rows: Sequence[Row],
    steps: Sequence[StepRow],
    machine: Machine,
    settings: SequenceSettings,
    about: str,
) -> None:
    heading = (
        f"{headline(machine, 'cpu')}; batches of {BATCH_SIZE} frames of "
        f"{settings.crop}×{settings.crop} from {settings.resize}×{settings.resize}, sequences of "
        f"{FRAMES}; {about}."
    )
    table = markdown_table(HEADS, [*rows, *steps])
    result = {
        "machine": machine,
        "data": about,
        "batch_size": BATCH_SIZE,
        **asdict(settings),
        "rows": [asdict(row) for row in rows],
        "steps": [asdict(step) for step in steps],
    }
    write_results(path, result, page(heading, table, notes(rows, steps, settings.crop)))


def _about(data: Path | None, shots: Sequence[Shot]) -> str:
    name = "the built-in clip set, size 'large'" if data is None else data.name
    images = sum(isinstance(shot.frames, ImageFrames) for shot in shots)
    return f"{name}: {images} shots of image files, {len(shots) - images} of video files"


def _files_of(shots: Sequence[Shot]) -> list[str]:
    """Files of the shots: images or videos."""
    files: list[str] = []
    for shot in shots:
        frames, _ = place_in_video(shot.frames, 0)  # a shot may be part of a video
        if isinstance(frames, ImageFrames):
            files += frames.paths
        elif isinstance(frames, VideoFrames):
            files.append(frames.path)
    return files


def _fail(line: str) -> None:
    """Raises a warning of the cache as an error: the measurement would be invalid."""
    raise UserError(f"--scratch: {line}")


if __name__ == "__main__":
    sys.exit(main())
