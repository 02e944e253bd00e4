"""Command `colocam-prepare`: published data sets to data folders, data folders to split files."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import Progress, TaskID, TimeRemainingColumn

from colocam.data.layouts.split_layout import video_of
from colocam.data.prepare import youtube_objects_v1, youtube_objects_v2
from colocam.data.prepare.archives import is_archive, stem_of, unpack
from colocam.data.prepare.atomic_folder import atomic_folder
from colocam.data.prepare.export_frames import export_frames
from colocam.data.prepare.export_splits import export_splits
from colocam.data.prepare.mat_files import require_scipy
from colocam.data.prepare.place_frames import place_frames
from colocam.data.prepare.source_set import Faults, SourceSet, walk
from colocam.data.prepare.splits import SPLITS, Splits, draw_splits, read_splits
from colocam.runtime.console import make_console, progress_bar
from colocam.runtime.device import check_seed
from colocam.runtime.entry import CommandParser, exit_status, program_name
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

_SHOWN = 20  # missing ids that are printed; all are written to a file


@dataclass(frozen=True)
class Published:
    """Published data set.

    Attributes:
        read: reads the source data set (see `read_v1`).
        numbers: published numbers of classes, videos, frames and so on.
        validation_videos: number of validation videos drawn per class.
        needs_tables: whether its shots are in MATLAB files.
    """

    read: Callable[[Sequence[Path], Faults, bool], SourceSet]
    numbers: Mapping[str, int]
    validation_videos: int
    needs_tables: bool


SETS = {
    "youtube-objects-v1": Published(
        youtube_objects_v1.read_v1,
        youtube_objects_v1.PUBLISHED,
        youtube_objects_v1.VALIDATION_VIDEOS,
        needs_tables=False,
    ),
    "youtube-objects-v2.2": Published(
        youtube_objects_v2.read_v2,
        youtube_objects_v2.PUBLISHED,
        youtube_objects_v2.VALIDATION_VIDEOS,
        needs_tables=True,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments; None: those of the process.

    Returns:
        The exit status: 0 on success, 2 on bad input, 130 on Ctrl-C.
    """
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("python -m colocam.prepare"),
        description="Convert a published data set to a data folder with split files, or write "
        "split files for a data folder.",
        epilog="COMMAND --help lists the options of a command.",
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for name, published in SETS.items():
        version = name.removeprefix("youtube-objects-")
        command = commands.add_parser(
            name,
            help=f"YouTube-Objects {version}, archives or unpacked, to a data folder",
            description=f"Convert YouTube-Objects {version} to a data folder with split files.",
        )
        _add_conversion_options(command, published.validation_videos)
    command = commands.add_parser(
        "splits",
        help="split files for a data folder",
        description="Write split files for a data folder to DIR/splits.",
    )
    _add_splits_options(command)
    return parser


def _add_conversion_options(command: argparse.ArgumentParser, validation_videos: int) -> None:
    add = command.add_argument
    add("source", type=Path, metavar="SRC", help="folder with archives or unpacked, or an archive")
    add("target", type=Path, metavar="DST", help="data folder to write; new or empty")
    what = f"seed of the draw of {validation_videos} validation videos per class"
    add("--seed", type=int, default=0, metavar="N", help=f"{what} (default: %(default)s)")
    add("--splits", type=Path, metavar="DIR", help="use these split files instead of a draw")


def _add_splits_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("data", type=Path, metavar="DIR", help="data folder")
    what = "seed of the split into train, val and test, as in training"
    add("--seed", type=int, default=0, metavar="N", help=f"{what} (default: %(default)s)")
    what = "write the frames of video files, and the split files, to this new data folder"
    add("--frames", type=Path, metavar="DST", help=what)


def _run(options: argparse.Namespace) -> None:
    check_seed("--seed", options.seed)
    console = make_console()
    if options.command != "splits":
        _prepare(console, SETS[options.command], options)
    elif options.frames is None:
        with console.status(f"reading {options.data}"):
            opened, splits = export_splits(options.data, options.seed)
        _print_notes(console, opened.notes)
        _print(console, f"{options.data / 'splits'}: {_sizes(splits)}")
    else:
        _export_frames(console, options)


def _export_frames(console: Console, options: argparse.Namespace) -> None:
    with progress_bar(console, TimeRemainingColumn()) as progress:
        task = progress.add_task("writing frames", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        opened, splits, done = export_frames(options.data, options.frames, options.seed, advance)
    _print_notes(console, opened.notes)
    _print(console, f"frames: {', '.join(f'{number} {how}' for how, number in done.items())}")
    _print(console, f"{options.frames}: {_sizes(splits)}")


def _prepare(console: Console, published: Published, options: argparse.Namespace) -> None:
    """Converts a published data set to a data folder."""
    source, target, folder = options.source.absolute(), options.target, options.splits
    if not source.exists():
        raise UserError(f"{source}: no such folder or archive")
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --splits takes the folder with class_id.yaml")
    if published.needs_tables or folder is None:
        require_scipy()
    faults = Faults()
    with (
        atomic_folder(target) as unfinished,
        progress_bar(console, TimeRemainingColumn()) as progress,
    ):
        archives = unfinished / ".archives"
        roots = _unpacked(source, archives, progress)
        task = progress.add_task("reading shots and boxes", total=None)
        source_set = published.read(roots, faults, folder is None)
        if folder is None:
            splits = draw_splits(source_set, published.validation_videos, options.seed, faults)
        else:
            splits = read_splits(source_set, folder, faults)
        progress.remove_task(task)
        placed = _place(source_set, unfinished, archives, progress)
        splits.write(unfinished / "splits")
        if splits.missing:
            lines = "".join(f"{name}\n" for name in splits.missing)
            (unfinished / "splits" / "missing_ids.txt").write_text(lines, encoding="utf-8")
        shutil.rmtree(archives, ignore_errors=True)
    _report(console, published, source_set, splits, faults, placed, target)


def _unpacked(source: Path, archives: Path, progress: Progress) -> list[Path]:
    """Folders to search: `source` itself, and one per unpacked archive."""
    if source.is_dir():
        roots = [source]
        files = [Path(f.path) for _, of in walk(roots) for f in of if is_archive(f.name)]
    elif is_archive(source.name):
        roots, files = [], [source]
    else:
        raise UserError(f"{source}: neither a folder nor an archive (.tar, .tar.gz, .zip)")
    for number, archive in enumerate(files):
        # An archive without the folder of its class is named after the class.
        folder = archives / str(number) / stem_of(archive.name)
        task = progress.add_task(f"unpacking {archive.name}", total=archive.stat().st_size)
        unpack(archive, folder, partial(_set_completed, progress, task))
        roots.append(folder)
    return roots


def _set_completed(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


def _place(source_set: SourceSet, root: Path, archives: Path, progress: Progress) -> Counter[str]:
    total = sum(len(shot.frames) for shot in source_set.shots)
    task = progress.add_task("placing frames", total=total)
    return place_frames(source_set.shots, root, archives, partial(progress.advance, task))


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {note}", style="yellow", soft_wrap=True)


def _report(
    console: Console,
    published: Published,
    source_set: SourceSet,
    splits: Splits,
    faults: Faults,
    placed: Counter[str],
    target: Path,
) -> None:
    _print_notes(console, faults.lines())
    missing = splits.missing
    if missing:
        file = target / "splits" / "missing_ids.txt"
        _print_notes(console, [f"ids of --splits not in the set: {len(missing)}, listed in {file}"])
        _print_notes(console, [*missing[:_SHOWN], *(["…"] if len(missing) > _SHOWN else [])])
    lines = [
        f"found: {', '.join(f'{number} {thing}' for thing, number in source_set.counts.items())}",
        _compared(published, source_set, splits),
        f"frames: {', '.join(f'{number} {how}' for how, number in placed.items())}",
        f"{target}: {_sizes(splits)}",
        f"train with: python train.py --data {target}",
    ]
    for line in lines:
        _print(console, line)


def _sizes(splits: Splits) -> str:
    """Numbers of shots, frames and boxes of the splits, in words."""
    parts = [f"train {count_of(len(splits.records['train']), 'shot')}"]
    for split in SPLITS[1:]:
        records = splits.records[split]
        boxes = count_of(sum(len(record.boxes) for record in records), "box")
        parts.append(f"{split} {count_of(len(records), 'frame')} with {boxes}")
    return "; ".join(parts)


def _compared(published: Published, source_set: SourceSet, splits: Splits) -> str:
    """Differences from the published numbers, in words."""
    numbers = published.numbers
    if source_set.counts["classes"] < numbers["classes"]:
        return (
            f"published numbers: not compared, {source_set.counts['classes']} of "
            f"{numbers['classes']} classes found"
        )
    tests = splits.records["test"]
    counts = {
        **source_set.counts,
        "test videos": len({video_of(str(PurePosixPath(record.id).parent)) for record in tests}),
        "test frames": len(tests),
        "test boxes": sum(len(record.boxes) for record in tests),
    }
    differences = [
        f"{thing} {counts[thing]} instead of {number}"
        for thing, number in numbers.items()
        if counts[thing] != number
    ]
    return f"published numbers: {', '.join(differences) or 'all equal'}"
