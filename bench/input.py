"""How fast frames become batches: from their files, while the cache is filled, and from the cache.

    python bench/input.py [--data DIR] [--workers 0 1 2] [--json FILE]

Batches of stage 2 as training draws them: 32 frames of 224×224, cropped from 256×256, in sequences
of 4. An epoch is timed from its beginning to its last batch, with nothing else to do meanwhile.
Beside it stands what a training step takes on the same hardware, where bench/train_step.py has
measured that.
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

from colocam.data.decoding.images import ImageFrames
from colocam.data.layouts.builtin import builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.loading.cache import FrameCache
from colocam.data.loading.loader import SequenceLoader
from colocam.data.loading.sampling import frame_window
from colocam.data.loading.sequence_dataset import SequenceSettings
from colocam.data.records import Shot
from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from lib.machine import OtherProcesses, describe, distrust, file_name_of, headline
from lib.markdown_table import cell, markdown_table
from lib.result_files import RESULTS, result_path, write_results

SIDE, RESIZE, BATCH_SIZE, FRAMES, FRAME_LIMIT = 224, 256, 32, 4, 0.6
TARGET, TARGET_WORKERS = 400, 2  # frames a second from the cache
FILES, FILLING, DISK, MEMORY = "files", "files, filling the cache", "cache, disk", "cache, memory"


@dataclass(frozen=True)
class Row:
    """One way to batches.

    Attributes:
        source: where frames come from.
        workers: processes that decode ahead.
        batches, frames: in the epoch that was timed.
        seconds: that it took.
        frames_per_s: frames delivered.
        ms: a batch.
        stored_per_s: frames that were decoded and stored meanwhile, a second; None: none.
        others_cpu_percent: of the machine, meanwhile; None where it cannot be told.
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
    """A training step in the same table, of the columns that it has."""

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
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="(default: the built-in clip set, size 'large')")
    add("--splits", type=Path, metavar="DIR", help="split files of --data")
    add("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    add("--batches", type=int, default=32, help="of the epoch that is timed (default: 32)")
    add("--size", type=int, default=SIDE, help=f"side of the crops, pixels (default: {SIDE})")
    add("--scratch", type=Path, metavar="DIR", help="for the cache (default: for temporary files)")
    add("--json", type=Path, metavar="FILE", help="(default: bench/results/input-*.json)")
    options = parser.parse_args(argv)
    for name, least, value in (
        ("workers", 0, min(options.workers)),
        ("batches", 2, options.batches),
        ("size", 1, options.size),
    ):
        if value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
    if options.scratch is not None and not options.scratch.is_dir():
        raise UserError(f"--scratch {options.scratch}: no such folder")
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()  # first: it notes how busy the machine is before this run
    path = result_path(options.json, f"input-{file_name_of(machine, 'cpu')}")
    data = open_data(options.data or builtin_folder("large", 0), options.splits)
    if not data.train:
        raise UserError(f"{options.data}: no shot to train on; give a data set that has some")
    settings = SequenceSettings(
        FRAMES, "adjacent", FRAME_LIMIT, round(options.size * RESIZE / SIDE), options.size, seed=0
    )
    shots = data.train[: options.batches * (BATCH_SIZE // FRAMES)]
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=4 * len(options.workers))
        for workers in options.workers:
            with tempfile.TemporaryDirectory(prefix="frames-", dir=options.scratch) as folder:
                measuring = Measuring(shots, settings, options.batches, workers, Path(folder))
                for measure in (measuring.files, measuring.filling, measuring.disk,
                                measuring.memory):  # fmt: skip
                    progress.update(bar, description=f"{workers} processes: {measure.__name__}")
                    rows.append(measure())
                    progress.advance(bar)
    about = _about(options.data, shots)
    steps = step_rows(RESULTS, machine)
    _write(path, rows, steps, machine, settings, about)


class Measuring:
    """The rows of one number of processes; in the order of the methods, each once.

    Args:
        shots: to draw from.
        settings: how.
        batches: an epoch; shots are repeated until there are so many.
        workers: processes that decode ahead.
        folder: for the cache, empty.
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
        """Without a cache."""
        return self._time(FILES, self.repeated, None, forgotten=_files_of(self.shots))

    def filling(self) -> Row:
        """The first epoch with a cache: every shot once; with the start of the processes."""
        stored = sum(len(frame_window(len(shot.frames), FRAME_LIMIT)) for shot in self.shots)
        files = _files_of(self.shots)
        return self._time(FILLING, self.shots, self._cache(), forgotten=files, stored=stored)

    def disk(self) -> Row:
        """From a cache that the system does not hold in memory."""
        files = self.folder.iterdir()
        return self._time(DISK, self.repeated, self._cache(), forgotten=files)

    def memory(self) -> Row:
        """From a cache that was read just now."""
        return self._time(MEMORY, self.repeated, self._cache())

    def _cache(self) -> FrameCache:
        return FrameCache(self.folder, max_bytes=2**60)

    def _time(
        self,
        source: str,
        shots: Sequence[Shot],
        cache: FrameCache | None,
        forgotten: Iterable[str | Path] = (),
        stored: int | None = None,
    ) -> Row:
        others = OtherProcesses()
        loader = SequenceLoader(
            shots, self.settings, BATCH_SIZE, workers=self.workers, cache=cache, warn=_fail
        )
        batches = len(loader)
        if stored is None:
            list(loader.epoch(0, first=batches - 1))  # the processes have started
        forget(forgotten)
        started = time.perf_counter()
        frames = sum(len(batch.images) for batch in loader.epoch(1) if not batch.blank)
        seconds = time.perf_counter() - started
        loader.close()
        if not frames:
            raise UserError("--data: no frame to train on can be decoded")
        return Row(
            source,
            self.workers,
            batches,
            frames,
            seconds,
            frames / seconds,
            1e3 * seconds / batches,
            None if stored is None else stored / seconds,
            others.percent(),  # the processes that decoded ahead have ended
        )


def forget(files: Iterable[str | Path]) -> None:
    """Makes the system read files from the disk the next time, where it can be asked to."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in files:
        try:
            number = os.open(file, os.O_RDONLY)
        except OSError:  # one of those that cannot be decoded
            continue
        try:
            os.fsync(number)  # what is not on the disk yet cannot be forgotten
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(number)


def step_rows(folder: Path, machine: dict[str, object]) -> list[StepRow]:
    """What a training step takes by the result files of bench/train_step.py on this hardware."""
    rows = []
    for path in sorted(folder.glob("train_step-*.json")):
        step = json.loads(path.read_text())
        part = "gpu" if step["device"] == "cuda" else "cpu"
        if step["machine"][part] != machine[part] or step["size"] != SIDE:
            continue
        how = ", deterministic" if step["deterministic"] else ""
        source = f"a training step: {step['encoder']}, {step['machine'][part]}{how}"
        rate = step["frames_per_s"]
        rows.append(StepRow(source, rate, 1e3 * step["frames"] / rate))
    return rows


def notes(rows: Sequence[Row], steps: Sequence[StepRow], size: int) -> list[str]:
    """What a reader of the table has to know."""
    lines = [
        "Where frames come from files or the disk, the system was asked to forget these before; "
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
            f"Training takes at most {cell(need)} frames/s here and the cache in memory gives at "
            f"least {cell(rate)}: training {verdict}."
        )
    worst = max((row.others_cpu_percent or 0 for row in rows), default=0)
    return lines + distrust(worst)


def _write(
    path: Path,
    rows: Sequence[Row],
    steps: Sequence[StepRow],
    machine: dict[str, object],
    settings: SequenceSettings,
    about: str,
) -> None:
    lines = [
        f"{headline(machine, 'cpu')}; batches of {BATCH_SIZE} frames of "
        f"{settings.crop}×{settings.crop} from {settings.resize}×{settings.resize}, sequences of "
        f"{FRAMES}; {about}.",
        "",
        *markdown_table(HEADS, [*rows, *steps]),
        "",
        *(f"- {line}" for line in notes(rows, steps, settings.crop)),
    ]
    result = {
        "machine": machine,
        "data": about,
        "batch_size": BATCH_SIZE,
        **asdict(settings),
        "rows": [asdict(row) for row in rows],
        "steps": [asdict(step) for step in steps],
    }
    write_results(path, result, lines)


def _about(data: Path | None, shots: Sequence[Shot]) -> str:
    name = "the built-in clip set, size 'large'" if data is None else data.name
    images = sum(isinstance(shot.frames, ImageFrames) for shot in shots)
    return f"{name}: {images} shots of image files, {len(shots) - images} of video files"


def _files_of(shots: Sequence[Shot]) -> list[str]:
    """All files of the shots."""
    return [
        file
        for shot in shots
        for file in (
            shot.frames.paths if isinstance(shot.frames, ImageFrames) else (shot.frames.path,)
        )
    ]


def _fail(line: str) -> None:
    """What is wrong with the cache spoils the measurement."""
    raise UserError(f"--scratch: {line}")


if __name__ == "__main__":
    sys.exit(main())
