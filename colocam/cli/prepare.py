"""The command `python -m colocam.prepare`: published sets into data folders, split files."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import Progress

from colocam.data.layouts.split_layout import video_of
from colocam.data.prepare import youtube_objects_v1, youtube_objects_v2
from colocam.data.prepare.archives import is_archive, stem_of, unpack
from colocam.data.prepare.atomic_folder import whole_folder
from colocam.data.prepare.export_frames import export_frames
from colocam.data.prepare.export_splits import export_splits
from colocam.data.prepare.mat_files import require_scipy
from colocam.data.prepare.place_frames import place_frames
from colocam.data.prepare.source_set import Faults, FoundSet, walk
from colocam.data.prepare.split_choice import SPLITS, Choice, draw_splits, given_splits
from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

_SHOWN = 20  # missing ids in the terminal; all of them stand in a file


@dataclass(frozen=True)
class Published:
    """A published set: how it is found, its published numbers, validation videos a class."""

    find: Callable[[Sequence[Path], Faults, bool], FoundSet]
    numbers: Mapping[str, int]
    validation_videos: int
    needs_tables: bool


SETS = {
    "youtube-objects-v1": Published(
        youtube_objects_v1.find_v1,
        youtube_objects_v1.PUBLISHED,
        youtube_objects_v1.VALIDATION_VIDEOS,
        needs_tables=False,
    ),
    "youtube-objects-v2.2": Published(
        youtube_objects_v2.find_v2,
        youtube_objects_v2.PUBLISHED,
        youtube_objects_v2.VALIDATION_VIDEOS,
        needs_tables=True,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's); returns its exit status."""
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m colocam.prepare",
        description="Brings a published data set into a data folder with split files, or writes "
        "split files for a data folder.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, published in SETS.items():
        version = name.removeprefix("youtube-objects-")
        command = commands.add_parser(
            name,
            help=f"YouTube-Objects {version}, archives or unpacked, into a data folder",
            description=f"Brings YouTube-Objects {version} into a data folder with split files.",
        )
        add = command.add_argument
        add(
            "source", type=Path, metavar="SRC", help="folder of archives or unpacked, or an archive"
        )
        add("target", type=Path, metavar="DST", help="data folder to be written; new or empty")
        number = published.validation_videos
        add("--seed", type=int, default=0, help=f"draws {number} validation videos of each class")
        add("--splits", type=Path, metavar="DIR", help="take these split files, draw nothing")
    command = commands.add_parser(
        "splits",
        help="write split files for a data folder",
        description="Writes DIR/splits, the field's split files, for a folder of videos.",
    )
    command.add_argument("data", type=Path, metavar="DIR", help="data folder")
    command.add_argument("--seed", type=int, default=0, help="splits the videos, as in training")
    command.add_argument(
        "--frames",
        type=Path,
        metavar="DST",
        help="write the frames of video files and the split files to this new data folder",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: must not be negative")
    console = Console()
    if options.command != "splits":
        _prepare(console, SETS[options.command], options)
    elif options.frames is None:
        with console.status(f"looking through {options.data}"):
            opened, choice = export_splits(options.data, options.seed)
        _tell(console, opened.notes)
        _print(console, f"{options.data / 'splits'}: {_sizes(choice)}")
    else:
        _export_frames(console, options)


def _export_frames(console: Console, options: argparse.Namespace) -> None:
    with _progress(console) as progress:
        task = progress.add_task("writing frames", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        opened, choice, done = export_frames(options.data, options.frames, options.seed, advance)
    _tell(console, opened.notes)
    _print(console, f"frames: {', '.join(f'{number} {how}' for how, number in done.items())}")
    _print(console, f"{options.frames}: {_sizes(choice)}")


def _prepare(console: Console, published: Published, options: argparse.Namespace) -> None:
    source, target, splits = options.source.absolute(), options.target, options.splits
    if not source.exists():
        raise UserError(f"{source}: no such folder or archive")
    if splits is not None and not splits.is_dir():
        raise UserError(f"{splits}: no such folder; --splits takes the folder with class_id.yaml")
    if published.needs_tables or splits is None:
        require_scipy()
    faults = Faults()
    with whole_folder(target) as unfinished, _progress(console) as progress:
        archives = unfinished / ".archives"
        roots = _unpacked(source, archives, progress)
        task = progress.add_task("looking for shots and boxes", total=None)
        found = published.find(roots, faults, splits is None)
        if splits is None:
            choice = draw_splits(found, published.validation_videos, options.seed, faults)
        else:
            choice = given_splits(found, splits, faults)
        progress.remove_task(task)
        placed = _place(found, unfinished, archives, progress)
        choice.write(unfinished / "splits")
        if choice.missing:
            lines = "".join(f"{name}\n" for name in choice.missing)
            (unfinished / "splits" / "missing_ids.txt").write_text(lines, encoding="utf-8")
        shutil.rmtree(archives, ignore_errors=True)
    _report(console, published, found, choice, faults, placed, target)


def _unpacked(source: Path, archives: Path, progress: Progress) -> list[Path]:
    """The folders to look through: `source` itself and what its archives hold."""
    if source.is_dir():
        roots = [source]
        files = [Path(f.path) for _, of in walk(roots) for f in of if is_archive(f.name)]
    elif is_archive(source.name):
        roots, files = [], [source]
    else:
        raise UserError(f"{source}: neither a folder nor an archive (.tar, .tar.gz, .zip)")
    for number, archive in enumerate(files):
        # An archive may lack the folder of its class, which is then named after the archive.
        folder = archives / str(number) / stem_of(archive.name)
        task = progress.add_task(f"unpacking {archive.name}", total=archive.stat().st_size)
        unpack(archive, folder, lambda done, task=task: progress.update(task, completed=done))
        roots.append(folder)
    return roots


def _place(found: FoundSet, root: Path, archives: Path, progress: Progress) -> Counter[str]:
    total = sum(len(shot.frames) for shot in found.shots)
    task = progress.add_task("placing frames", total=total)
    return place_frames(found.shots, root, archives, lambda n: progress.update(task, advance=n))


def _progress(console: Console) -> Progress:
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tell(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)


def _report(
    console: Console,
    published: Published,
    found: FoundSet,
    choice: Choice,
    faults: Faults,
    placed: Counter[str],
    target: Path,
) -> None:
    _tell(console, faults.lines())
    missing = choice.missing
    if missing:
        everything = f"{target / 'splits' / 'missing_ids.txt'} lists them"
        _tell(
            console, [f"ids of --splits that the set does not hold: {len(missing)}; {everything}"]
        )
        _tell(console, [*missing[:_SHOWN], *(["…"] if len(missing) > _SHOWN else [])])
    lines = [
        f"found: {', '.join(f'{number} {thing}' for thing, number in found.counts.items())}",
        _compared(published, found, choice),
        f"frames: {', '.join(f'{number} {how}' for how, number in placed.items())}",
        f"{target}: {_sizes(choice)}",
        f"train with: python train.py --data {target}",
    ]
    for line in lines:
        _print(console, line)


def _sizes(choice: Choice) -> str:
    """What the splits hold, in words."""
    parts = [f"train {count_of(len(choice.records['train']), 'shot')}"]
    for split in SPLITS[1:]:
        records = choice.records[split]
        boxes = count_of(sum(len(record.boxes) for record in records), "box")
        parts.append(f"{split} {count_of(len(records), 'frame')} with {boxes}")
    return "; ".join(parts)


def _compared(published: Published, found: FoundSet, choice: Choice) -> str:
    """How the numbers found differ from the published ones, in words."""
    numbers = published.numbers
    if found.counts["classes"] < numbers["classes"]:
        return (
            f"published numbers: not compared, as {found.counts['classes']} of "
            f"{numbers['classes']} classes are there"
        )
    tests = choice.records["test"]
    counts = {
        **found.counts,
        "test videos": len({video_of(str(PurePosixPath(record.id).parent)) for record in tests}),
        "test frames": len(tests),
        "test boxes": sum(len(record.boxes) for record in tests),
    }
    differences = [
        f"{thing} {counts[thing]} instead of {number}"
        for thing, number in numbers.items()
        if counts[thing] != number
    ]
    return f"published numbers: {', '.join(differences) or 'all the same'}"


if __name__ == "__main__":
    raise SystemExit(main())
